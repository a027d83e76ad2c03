"""The contract of an external system without faults: routes, codes, ids, verdicts, replay."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from lab.cluster.control_client import ControlResponse
from lab.cluster.errors import LabCannotRun
from lab.conformance.clients import (
    SHOWN_WITHIN_S,
    Feed,
    SystemClient,
    comment_ids,
    comment_statuses,
    describe_failure,
    feed_texts,
    is_created,
    post_ids,
)
from lab.conformance.endings import Ending, find_endings
from lab.conformance.moderator import find_moderator, named_moderator
from lab.conformance.report_card import Criterion, CriterionFinding, FindingRecorder
from lab.external.arrangement import lab_name
from lab.external.stack import ExternalStack
from lab.support.text import plain

_CONCURRENT = 5
_MAX_LENGTH = 400
_KNOWN_WITHIN_S, _POLL_S = 0.3, 0.02
_TEXT = 'Grüße: “quoted”, "so", \\ and <b>1 < 2</b>'
_UNKNOWN_PATH = "/there-is-no-such-route"
_MAPPING_HINT = "`[actions]` in the target says where to look: docs/bring-your-own.md."

CRITERIA = (
    Criterion("create-post", "A post is accepted.", _MAPPING_HINT),
    Criterion("read-feed", "The feed shows the post.", _MAPPING_HINT),
    Criterion("create-comment", "Comments are accepted, and the feed shows them.", _MAPPING_HINT),
    Criterion(
        "id-in-response",
        "The response to a new post, and to a new comment, has its id.",
        "Without it, a client can't comment on what it has just posted.",
    ),
    Criterion("texts", "Texts come back as they were sent.", "Escape for HTML where HTML is made."),
    Criterion(
        "moderation",
        "A comment with the forbidden word ends as rejected, another one as approved.",
        "Is it another word? Say so with `forbidden` in the target. Otherwise follow one: "
        "CommentCreated, CommentModerated, CommentUpdated. Which service publishes "
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
        "A body that is no JSON is answered with 400 or 422, and the service keeps running.",
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


@dataclass(frozen=True)
class Moderation:
    """What the contract has seen of moderation. `service`: None if it is unknown. `works`: comments
    get the right verdicts. `verdict_s`: how long the slower of two verdicts took; 0 if unknown."""

    service: str | None = None
    works: bool = True
    verdict_s: float = 0.0


async def check_contract(
    stack: ExternalStack, *, find_moderation: bool = True
) -> tuple[tuple[CriterionFinding, ...], Moderation]:
    """Check every criterion. Those that depend on a failed one stay open."""
    contract_check = _ContractCheck(stack)
    recorder = contract_check.recorder
    try:
        if (post_id := await contract_check.check_writes_and_reads()) is not None:
            await contract_check.check_ids(post_id)
            await contract_check.check_status_codes(post_id)
            if find_moderation:
                await contract_check.find_moderator(post_id)
            await contract_check.check_replay()
    except _ServiceExited as ended:
        findings = recorder.findings(f"{ended} had ended before, as is said above")
        return findings, contract_check.moderation
    return recorder.findings(), contract_check.moderation


class _ServiceExited(Exception):
    """One of the services ended by itself: further checks say nothing about the others."""


class _ContractCheck:
    def __init__(self, stack: ExternalStack) -> None:
        self._stack, self._client = stack, SystemClient(stack)
        self._target = stack.target
        self.recorder = FindingRecorder(CRITERIA)
        self.moderation = Moderation(named_moderator(stack.target))

    async def _record(self, key: str, held: bool | None, observed: str) -> bool:
        """Record what was seen; return whether the criterion holds.

        Raises _ServiceExited if it does not hold and one of the services has ended.
        """
        if held is not False or not (endings := await self._unexpected_exits()):
            return self.recorder.record(key, held, observed)
        first, *later = endings
        sentence = f"{first.process} ended by itself while this was asked: it {first.how}"
        sentence += "".join(f"; then {ended.process} {ended.how}" for ended in later)
        self.recorder.record(key, False, plain(sentence, _MAX_LENGTH))
        raise _ServiceExited(first.process)

    async def _unexpected_exits(self) -> list[Ending]:
        """The services that have ended. An exit is reported a little after the failed request."""
        give_up_at_s = perf_counter() + _KNOWN_WITHIN_S
        while True:
            if endings := await find_endings(self._stack):
                return endings
            if perf_counter() >= give_up_at_s:
                return []
            await asyncio.sleep(_POLL_S)

    async def check_writes_and_reads(self) -> str | None:
        """The id of a post that the feed shows; None if further checks make no sense."""
        post = await self._client.post(_TEXT)
        accepted = is_created(post)
        if not await self._record(
            "create-post", accepted, "it is" if accepted else describe_failure(post)
        ):
            return None
        feed, wrong = await self._client.feed_until(
            lambda feed: _find_post(feed, post, _TEXT) is not None
        )
        post_id = _find_post(feed, post, _TEXT)
        if not await self._record("read-feed", not wrong, wrong or "it does") or post_id is None:
            return None
        titles = {entry["title"] for entry in feed if entry["id"] == post_id}
        texts = (_TEXT, f"An {self._target.forbidden} is no apple")
        comments, began_s = [], perf_counter()
        for text in texts:
            comments.append(await self._client.comment(post_id, text))
        if refused := [comment for comment in comments if not is_created(comment)]:
            await self._record("create-comment", False, describe_failure(refused[0]))
            return None

        def ids_in(feed: Feed) -> list[str]:
            found = (
                _find_comment(feed, post_id, comment, text)
                for comment, text in zip(comments, texts, strict=True)
            )
            return [each for each in found if each is not None]

        feed, wrong = await self._client.feed_until(lambda feed: len(ids_in(feed)) == len(texts))
        if not await self._record("create-comment", not wrong, wrong or "they are"):
            return None
        await self._record_ids_in_responses([post, *comments])
        ids = ids_in(feed)
        same = titles == {_TEXT} and (ids[0], _TEXT) in feed_texts(feed)
        await self._record("texts", same, "they do" if same else f"{_TEXT!r} came back as {titles}")
        await self._check_moderation(post_id, ids, began_s)
        return post_id

    async def _record_ids_in_responses(self, created: Sequence[ControlResponse]) -> None:
        without = [response for response in created if not response.ok]
        seen = "it has"
        if without:
            seen = f"{describe_failure(without[0])}. It was found in the feed by its text"
        await self._record("id-in-response", not without, seen)

    async def _check_moderation(self, post_id: str, ids: list[str], began_s: float) -> None:
        """Wait until both comments have the right verdict: as long as one of them is pending, for
        `moderated_within_s` of the target."""
        expected = dict(zip(ids, ("approved", "rejected"), strict=True))

        def is_final(feed: Feed) -> bool:
            statuses = comment_statuses(feed, post_id)
            waited_enough = perf_counter() - began_s >= SHOWN_WITHIN_S
            return statuses == expected or (waited_enough and "pending" not in statuses.values())

        feed, _ = await self._client.feed_until(is_final, self._target.moderated_within_s)
        took_s = perf_counter() - began_s
        found = comment_statuses(feed, post_id)
        word = self._target.forbidden
        seen = f"with “{word}”: {found.get(ids[1])}, without: {found.get(ids[0])}"
        right = found == expected
        service = self.moderation.service
        self.moderation = Moderation(service, right, took_s if right else 0.0)
        if set(found.values()) == {"approved"} and service is None:
            await self._record("moderation", None, f"no service here moderates ({seen})")
        else:
            seen += f", after {took_s:.1f} s" if not right or took_s > 1 else ""
            await self._record("moderation", right, seen)

    async def find_moderator(self, post_id: str) -> None:
        """Find the service that moderates, if its name does not say so."""
        seen = self.moderation
        if seen.service is None and seen.works:
            service = await find_moderator(self._stack, post_id, seen.verdict_s)
            self.moderation = replace(seen, service=service)

    async def check_ids(self, post_id: str) -> None:
        """Write several at once: a service that counts badly gives the same id twice."""
        titles = [f"Post {n}" for n in range(_CONCURRENT)]
        texts = [f"Comment {n}" for n in range(_CONCURRENT)]
        posts = await asyncio.gather(*map(self._client.post, titles))
        comments = await asyncio.gather(*(self._client.comment(post_id, text) for text in texts))
        if refused := [each for each in (*posts, *comments) if not is_created(each)]:
            await self._record(
                "ids",
                None,
                f"not all of {_CONCURRENT} posts and comments, written at once, were accepted: "
                f"{describe_failure(refused[0])}",
            )
            return
        for responses in (posts, comments):
            ids = Counter(response.data["id"] for response in responses if response.ok)
            for most, times in ids.most_common(1):
                if times > 1:
                    seen = f"{most!r} is the id of {times} that were written at once"
                    await self._record("ids", False, seen)
                    return

        def shows_all(feed: Feed) -> bool:
            found_posts = {_find_post(feed, *each) for each in zip(posts, titles, strict=True)}
            found_comments = {
                _find_comment(feed, post_id, *each) for each in zip(comments, texts, strict=True)
            }
            return all(
                None not in found and len(found) == _CONCURRENT
                for found in (found_posts, found_comments)
            )

        _, wrong = await self._client.feed_until(shows_all)
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
        alive = is_created(await self._client.post("Still there?"))
        seen = f"{malformed}, and {'it lives on' if alive else 'no post is taken after it'}"
        await self._record("nonsense", malformed in ("400", "422") and alive, seen)

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


def _find_post(feed: Feed, created: ControlResponse, title: str) -> str | None:
    """The id of a new post in the feed: that of the response, or else the newest with the title."""
    found = [entry["id"] for entry in feed] if created.ok else post_ids(feed, title)
    if created.ok:
        return created.data["id"] if created.data["id"] in found else None
    return found[0] if found else None


def _find_comment(feed: Feed, post_id: str, created: ControlResponse, text: str) -> str | None:
    """The id of a new comment in the feed: that of the response, or else of one with the text."""
    if created.ok:
        found = created.data["id"] in comment_statuses(feed, post_id)
        return created.data["id"] if found else None
    ids = comment_ids(feed, post_id, text)
    return ids[0] if ids else None


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
