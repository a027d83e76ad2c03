"""The solutions of the notebooks' exercises: for each notebook, new text for old."""

from collections.abc import Mapping

SOLUTIONS: Mapping[str, Mapping[str, str]] = {
    "00_from_scratch": {
        "without_posts = ...": 'without_posts = {"comments", "query"}',
        '"owns": ...': '"owns": "who likes which post"',
        '"hears": ...': '"hears": "PostCreated"',
        '"tells": ...': '"tells": "PostLiked"',
        '"goal": ...': '"goal": "POST /posts/{post_id}/likes"',
    },
    "01_one_request": {
        "before_the_answer = ...": 'before_the_answer = {"posts", "comments", "moderation"}',
        "text = ...": 'text = "an orange"',
        "told_at_once = ...": 'told_at_once = {"sync-chain"}',
    },
    "02_latency_adds_up": {
        "delays = ...": 'delays = {"posts": 60, "comments": 480}',
        "saved = ...": 'saved = {"posts": 30, "comments": 150}',
    },
    "03_when_a_service_dies": {
        "dark = ...": """dark = {
    *(("posts", kind) for kind in ("read_feed", "create_post", "create_comment")),
    *(("comments", kind) for kind in ("read_feed", "create_comment")),
    ("moderation", "create_comment"),
    ("query", "read_feed"),
}""",
        "up = ...": 'up = {"sync-chain": 0.99**3, "async-bus": 0.99}',
    },
    "04_the_price_of_a_copy": {
        "return await blog.feed()": """while True:
        feed = await blog.feed()
        if any(one["id"] == post["id"] for one in feed):
            return feed
        await asyncio.sleep(0.02)""",
        'own post in it."""\n    return feed': '''own post in it."""
    others = [one for one in feed if one["id"] != mine["id"]]
    known = [one for one in feed if one["id"] == mine["id"]] or [{**mine, "comments": []}]
    return sorted([*others, *known], key=lambda one: one["id"], reverse=True)''',
    },
    "05_nothing_lost": {
        """
    db.execute("UPDATE heard SET sequence = ?", (event["sequence"],))
    db.commit()
    db.execute("UPDATE counted""": """
    (heard,) = db.execute("SELECT sequence FROM heard").fetchone()
    if event["sequence"] <= heard:
        return
    db.execute("UPDATE heard SET sequence = ?", (event["sequence"],))
    db.execute("UPDATE counted""",
        'service that missed them."""': '''service that missed them."""
    for event in await bus.events():
        await deliver("query", event)''',
    },
    "06_fixing_the_chain": {
        "settings = {}": 'settings = {"retries": 2, "breaker": True}',
        "sums = ...": 'sums = {"asked": 64, "written": 20}',
    },
    "07_your_own_outage": {
        "mended = ...": '''mended = """
[variants.mended]
arrangement = "sync-chain"
bulkhead = true
"""''',
        "that = ...": (
            'that = "async-bus.during.create_comment.visible_p50 >= '
            'async-bus.before.create_comment.visible_p50 + 300"'
        ),
    },
    "08_your_own_service": {
        "better = ...": """better = SEARCH.replace(
    "main = program(service)",
    '''
@service.on(CommentUpdated)
def forget_what_was_rejected(comment: CommentUpdated, change: Change) -> None:
    if comment.status == "rejected":
        change.execute("DELETE FROM texts WHERE id = ?", comment.id)


main = program(service)
''',
)""",
        "counts = ...": """counts = '''
from lab.async_bus.stack import BusService, Change, program
from lab.domain.events import CommentCreated

SCHEMA = "CREATE TABLE IF NOT EXISTS counts (post_id TEXT PRIMARY KEY, n INTEGER NOT NULL)"

service = BusService("counts", SCHEMA)


@service.get("/counts/{post_id}")
def count(post_id: str) -> dict[str, int]:
    rows = service.store.rows("SELECT n FROM counts WHERE post_id = ?", post_id)
    return {"comments": rows[0]["n"] if rows else 0}


@service.on(CommentCreated)
def count_one_more(comment: CommentCreated, change: Change) -> None:
    change.execute(
        "INSERT INTO counts VALUES (?, 1) ON CONFLICT (post_id) DO UPDATE SET n = n + 1",
        comment.post_id,
    )


main = program(service)
'''""",
    },
    "09_a_thousand_services": {
        "most = ...": "most = 52",
        "leaves = ...": 'leaves = {"budget", "breaker", "deadline"}',
    },
    "10_find_the_outage": {
        "doubles = ...": 'doubles = {"dedupe=off", "bus=course"}',
        "goal = ...": 'goal = "missing > 1"',
    },
}
