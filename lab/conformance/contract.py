"""The contract of an external system without faults: routes, codes, ids, verdicts, replay."""

import asyncio
import json
from collections import Counter
from time import perf_counter

from lab.cluster.errors import LabCannotRun, describe_exit
from lab.cluster.program import Exit
from lab.conformance.clients import SystemClient, comment_statuses, describe_failure, feed_texts
from lab.conformance.report_card import Criterion, CriterionFinding, FindingRecorder
from lab.external.arrangement import lab_name
from lab.external.stack import ExternalStack
from lab.support.text import plain

_CONCURRENT = 5
_MAX_LOG_LINES, _MAX_LENGTH = 3, 400
_KNOWN_WITHIN_S, _POLL_S = 0.3, 0.02
_TEXT = 'Grüße: “quoted”, "so", \\ and <b>1 < 2</b>'
_UNKNOWN_PATH = "/there-is-no-such-route"
_MAPPING_HINT = "`[actions]` in the target says where to look: docs/bring-your-own.md."

CRITERIA = (
    Criterion("create-post", "A post is accepted, and its id is in the response.", _MAPPING_HINT),
    Criterion("read-feed", "The feed shows the post.", _MAPPING_HINT),
    Criterion("create-comment", "Comments are accepted, and the feed shows them.", _MAPPING_HINT),
    Criterion("texts", "Texts come back as they were sent.", "Escape for HTML where HTML is made."),
    Criterion(
        "moderation",
        "A comment with “orange” ends as rejected, another one as approved.",
        "Follow one: CommentCreated, CommentModerated, CommentUpdated. Which service publishes "
        "each, and which consumes it?",
        "bus-passes-on",
        "reject-early",
    ),
    Criterion(
        "ids",
        "Each post and each comment has a unique id, and the feed shows the same id.",
        "A counter in memory begins again after a restart. A random id does not.",
    ),
    Criterion(
        "created",
        "A successful creation is answered with 201.",
        "200 does not say that it was created.",
    ),
    Criterion(
        "not-found", "An unknown path is answered with 404.", "A page of HTML helps no program."
    ),
    Criterion(
        "nonsense",
        "A body that is no JSON is answered with 400, and the service keeps running.",
        "A mistake of one caller must not affect the others.",
        "independent",
    ),
    Criterion(
        "bus-remembers",
        "The bus returns all events that were published.",
        "Keep every event, and return them to GET: then a service that was down can catch up.",
        "bus-passes-on",
        "catch-up",
    ),
    Criterion(
        "replay",
        "The service that shows the feed shows all of it again after a restart.",
        "Let it request all events from the bus at its start, or keep its copy on disk.",
        "bus-passes-on",
        "new-service",
    ),
)


REQUIRED_KEYS = ("create-post", "read-feed", "create-comment")
"""If one of these does not hold, no outage can be judged."""


async def check_contract(stack: ExternalStack) -> tuple[CriterionFinding, ...]:
    """Check every criterion. Those that depend on a failed one stay open."""
    contract_check = _ContractCheck(stack)
    try:
        if (post_id := await contract_check.check_writes_and_reads()) is not None:
            await contract_check.check_ids(post_id)
            await contract_check.check_status_codes(post_id)
            await contract_check.check_replay()
    except _ServiceExited as ended:
        return contract_check.recorder.findings(f"{ended} had ended before, as is said above")
    return contract_check.recorder.findings()


class _ServiceExited(Exception):
    """One of the services ended by itself: further checks say nothing about the others."""


class _ContractCheck:
    def __init__(self, stack: ExternalStack) -> None:
        self._stack, self._client = stack, SystemClient(stack)
        self._target = stack.target
        self.recorder = FindingRecorder(CRITERIA)

    async def _record(self, key: str, held: bool | None, observed: str) -> bool:
        """Record what was seen; return whether the criterion holds.

        Raises _ServiceExited if it does not hold and one of the services has ended.
        """
        if held is not False or (ended := await self._unexpected_exit()) is None:
            return self.recorder.record(key, held, observed)
        service, log = (
            ended.name.partition(".")[2],
            [line for line in ended.last_lines if line.strip()],
        )
        log_excerpt = (
            "; the last lines of its log: " + " / ".join(log[-_MAX_LOG_LINES:]) if log else ""
        )
        sentence = (
            f"{service} ended by itself while this was asked: it {describe_exit(ended.status)}"
        )
        self.recorder.record(key, False, plain(f"{sentence}{log_excerpt}", _MAX_LENGTH))
        raise _ServiceExited(service)

    async def _unexpected_exit(self) -> Exit | None:
        """The exit of a service, if one ended. It is reported a little after the failed request."""
        names = {program.name for program in self._stack.programs}
        give_up_at_s = perf_counter() + _KNOWN_WITHIN_S
        while True:
            for exit_ in self._stack.supervisor.unexpected_exits():
                if exit_.name in names:
                    return exit_
            if perf_counter() >= give_up_at_s:
                return None
            await asyncio.sleep(_POLL_S)

    async def check_writes_and_reads(self) -> str | None:
        """The id of a post that the feed shows; None if further checks make no sense."""
        post = await self._client.post(_TEXT)
        if not await self._record(
            "create-post", post.ok, "it is" if post.ok else describe_failure(post)
        ):
            return None
        post_id: str = post.data["id"]
        feed, wrong = await self._client.feed_until(
            lambda feed: any(entry["id"] == post_id for entry in feed)
        )
        if not await self._record("read-feed", not wrong, wrong or "it does"):
            return None
        titles = {entry["title"] for entry in feed if entry["id"] == post_id}
        comments = [
            await self._client.comment(post_id, text) for text in (_TEXT, "An orange is no apple")
        ]
        if refused := [comment for comment in comments if not comment.ok]:
            await self._record("create-comment", False, describe_failure(refused[0]))
            return None
        ids: list[str] = [comment.data["id"] for comment in comments]
        feed, wrong = await self._client.feed_until(
            lambda feed: comment_statuses(feed, post_id).keys() >= set(ids)
        )
        if not await self._record("create-comment", not wrong, wrong or "they are"):
            return None
        same = titles == {_TEXT} and (ids[0], _TEXT) in feed_texts(feed)
        await self._record("texts", same, "they do" if same else f"{_TEXT!r} came back as {titles}")
        await self._check_moderation(post_id, ids)
        return post_id

    async def _check_moderation(self, post_id: str, ids: list[str]) -> None:
        expected = dict(zip(ids, ("approved", "rejected"), strict=True))
        feed, wrong = await self._client.feed_until(
            lambda feed: comment_statuses(feed, post_id) == expected
        )
        found = comment_statuses(feed, post_id)
        seen = f"with “orange”: {found.get(ids[1])}, without: {found.get(ids[0])}"
        if set(found.values()) == {"approved"} and "moderation" not in self._target.services:
            await self._record("moderation", None, f"no service here moderates ({seen})")
        else:
            await self._record("moderation", not wrong, seen)

    async def check_ids(self, post_id: str) -> None:
        """Write several at once: a service that counts badly gives the same id twice."""
        posts = await asyncio.gather(*(self._client.post(f"Post {n}") for n in range(_CONCURRENT)))
        comments = await asyncio.gather(
            *(self._client.comment(post_id, f"Comment {n}") for n in range(_CONCURRENT))
        )
        if refused := [response for response in (*posts, *comments) if not response.ok]:
            await self._record(
                "ids", False, f"{_CONCURRENT} of each at once: {describe_failure(refused[0])}"
            )
            return
        kinds = (
            [response.data["id"] for response in posts],
            [response.data["id"] for response in comments],
        )
        for ids in kinds:
            (most, times), *_ = Counter(ids).most_common(1)
            if times > 1:
                await self._record(
                    "ids", False, f"{most!r} is the id of {times} that were written at once"
                )
                return
        _, wrong = await self._client.feed_until(
            lambda feed: (
                {entry["id"] for entry in feed} >= set(kinds[0])
                and comment_statuses(feed, post_id).keys() >= set(kinds[1])
            )
        )
        await self._record("ids", not wrong, wrong or "they have")

    async def check_status_codes(self, post_id: str) -> None:
        """Check the status codes of the services themselves."""
        call, actions = self._client.call_action_directly, self._target.actions
        post = await call(actions.create_post, {"title": "A post"})
        comment = await call(actions.create_comment, {"post_id": post_id, "content": "A comment"})
        await self._record(
            "created", (post, comment) == ("201", "201"), f"post {post}, comment {comment}"
        )
        not_found, _ = await self._client.call_directly(
            actions.create_post.service, "GET", _UNKNOWN_PATH
        )
        await self._record("not-found", not_found == "404", f"{not_found} to GET {_UNKNOWN_PATH}")
        malformed = await call(actions.create_post, {"title": "x"}, b'{"title": ')
        alive = (await self._client.post("Still there?")).ok
        seen = f"{malformed}, and {'it lives on' if alive else 'no post is taken after it'}"
        await self._record("nonsense", malformed == "400" and alive, seen)

    async def check_replay(self) -> None:
        """Read the events back from the bus, and restart the service that shows the feed."""
        if (bus := self._target.bus_name) is None:
            await self._record("bus-remembers", None, "there is no event bus")
        else:
            status, body = await self._client.call_directly(bus, "GET", self._target.events)
            held, seen = _is_event_list(status, body)
            await self._record("bus-remembers", held, f"GET {self._target.events}: {seen}")
        before, wrong = await self._client.feed_until(bool)
        if not before:
            await self._record("replay", None, f"there was nothing to show again: {wrong}")
            return
        reader = lab_name(self._target, self._target.actions.read_feed.service)
        try:
            await self._stack.supervisor.restart(
                self._stack.program_name(reader), ready_within_s=self._target.ready_within_s
            )
        except LabCannotRun as error:
            said = plain(str(error).replace(f"{self._stack.name}.", ""), _MAX_LENGTH)
            await self._record("replay", False, said)
            return
        after, wrong = await self._client.feed_until(
            lambda feed: feed_texts(feed) >= feed_texts(before)
        )
        missing = len(feed_texts(before) - feed_texts(after))
        some = f"{missing} of {len(feed_texts(before))} posts and comments are missing"
        await self._record(
            "replay", not wrong, some if wrong else f"all {len(feed_texts(before))} are there"
        )


def _is_event_list(status: str, body: bytes) -> tuple[bool, str]:
    """Whether the response is a list of events, and what it is, in words."""
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        return False, f"{status}, and no JSON"
    events = (
        [entry for entry in decoded if isinstance(entry, dict)] if isinstance(decoded, list) else []
    )
    return status == "200" and bool(events), f"{status}, {len(events)} events"
