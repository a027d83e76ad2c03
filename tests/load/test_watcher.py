"""How the visibility probe reads an answer of the feed."""

import asyncio
import json
from typing import cast

from lab.load.samples import Sample
from lab.load.visibility import VisibilityProbe
from lab.support.http_client import HttpClient, HttpOrigin


async def test_a_pending_comment_is_not_visible_yet() -> None:
    loop, client, feed = (
        asyncio.get_running_loop(),
        cast(HttpClient, None),
        HttpOrigin("127.0.0.1", 1),
    )
    watcher = VisibilityProbe(loop, client, feed, ["p"], started_at_s=0.0)
    comment = Sample("x", "before", "create_comment", 0.5, 0.0, id="c", post_id="p")
    watcher._pending_comments[comment.id] = comment
    seen = []
    for at_s, status in ((1.0, "pending"), (2.0, "rejected")):
        page = [{"id": "p", "comments": [{"id": "c", "status": status}]}]
        watcher.observe(json.dumps(page).encode(), at_s, at_s)
        seen.append(comment.visible_ms)
    assert seen == [None, 1_500.0]
