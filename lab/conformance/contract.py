"""The contract of an external system without faults: routes, codes, ids, verdicts, replay."""

import asyncio
import json
from collections import Counter
from time import perf_counter

from lab.cluster.errors import LabCannotRun, how_it_ended
from lab.cluster.program import Exit
from lab.conformance.clients import Client, statuses, texts, why
from lab.conformance.report_card import Criterion, Line, Notes
from lab.external.arrangement import part_of
from lab.external.stack import ForeignStack
from lab.support.text import plain

_AT_ONCE = 5
_LINES, _LONGEST = 3, 400
_KNOWN_WITHIN_S, _LOOK_EVERY_S = 0.3, 0.02
_TEXT = 'Grüße: “quoted”, "so", \\ and <b>1 < 2</b>'
_NOWHERE = "/there-is-no-such-route"
_SEE_THE_MAPPING = "`[actions]` in the target says where to look: docs/bring-your-own.md."

CRITERIA = (
    Criterion("create-post", "A post is taken, and its id is in the answer.", _SEE_THE_MAPPING),
    Criterion("read-feed", "The feed shows the post.", _SEE_THE_MAPPING),
    Criterion("create-comment", "Comments are taken, and the feed shows them.", _SEE_THE_MAPPING),
    Criterion("texts", "Texts come back as they were sent.", "Escape for HTML where HTML is made."),
    Criterion(
        "moderation",
        "A comment with “orange” ends as rejected, another one as approved.",
        "Follow one: CommentCreated, CommentModerated, CommentUpdated. Who tells it, who hears it?",
        "bus-passes-on",
        "reject-early",
    ),
    Criterion(
        "ids",
        "Each post and each comment has an id of its own, and the feed calls it the same.",
        "Ids that a process counts begin again when it does; random ones don't.",
    ),
    Criterion("created", "What was created is answered with 201.", "200 says less: it is there."),
    Criterion(
        "not-found", "What there is not is answered with 404.", "A page of HTML helps nobody."
    ),
    Criterion(
        "nonsense",
        "A body that is no JSON is answered with 400, and the service lives on.",
        "One caller's mistake must not be the trouble of all others.",
        "independent",
    ),
    Criterion(
        "bus-remembers",
        "The bus can be asked for all that it was told.",
        "Keep every event, and answer GET with them: then those who were away can catch up.",
        "bus-passes-on",
        "catch-up",
    ),
    Criterion(
        "replay",
        "Whoever shows the feed shows all of it again after a restart.",
        "Let it ask the bus at its start for all that was told, or keep its copy on disk.",
        "bus-passes-on",
        "new-service",
    ),
)


NEEDED = ("create-post", "read-feed", "create-comment")
"""If one of these does not hold, no outage can be judged."""


async def contract(stack: ForeignStack) -> tuple[Line, ...]:
    """Check every criterion. Those that depend on a failed one stay open."""
    looking = _Looking(stack)
    try:
        if (post_id := await looking.writes_and_reads()) is not None:
            await looking.ids(post_id)
            await looking.codes(post_id)
            await looking.replay()
    except _HasEnded as ended:
        return looking.notes.lines(f"{ended} had ended before, as is said above")
    return looking.notes.lines()


class _HasEnded(Exception):
    """One of the services ended by itself: further checks say nothing about the others."""


class _Looking:
    def __init__(self, stack: ForeignStack) -> None:
        self._stack, self._client = stack, Client(stack)
        self._target = stack.target
        self.notes = Notes(CRITERIA)

    async def _note(self, key: str, held: bool | None, seen: str) -> bool:
        """Record what was seen; return whether the criterion holds.

        Raises _HasEnded if it does not hold and one of the services has ended.
        """
        if held is not False or (ended := await self._ended()) is None:
            return self.notes.note(key, held, seen)
        who, log = ended.name.partition(".")[2], [one for one in ended.last_lines if one.strip()]
        said = "; the last lines of its log: " + " / ".join(log[-_LINES:]) if log else ""
        by_itself = f"{who} ended by itself while this was asked: it {how_it_ended(ended.status)}"
        self.notes.note(key, False, plain(f"{by_itself}{said}", _LONGEST))
        raise _HasEnded(who)

    async def _ended(self) -> Exit | None:
        """The exit of a service, if one ended. It is reported a little after the failed request."""
        names = {one.name for one in self._stack.programs}
        give_up_at_s = perf_counter() + _KNOWN_WITHIN_S
        while True:
            for one in self._stack.supervisor.unexpected_exits():
                if one.name in names:
                    return one
            if perf_counter() >= give_up_at_s:
                return None
            await asyncio.sleep(_LOOK_EVERY_S)

    async def writes_and_reads(self) -> str | None:
        """The id of a post that the feed shows; None if further checks make no sense."""
        post = await self._client.post(_TEXT)
        if not await self._note("create-post", post.ok, "it is" if post.ok else why(post)):
            return None
        post_id: str = post.data["id"]
        feed, wrong = await self._client.feed_when(
            lambda feed: any(entry["id"] == post_id for entry in feed)
        )
        if not await self._note("read-feed", not wrong, wrong or "it does"):
            return None
        titles = {entry["title"] for entry in feed if entry["id"] == post_id}
        comments = [
            await self._client.comment(post_id, text) for text in (_TEXT, "An orange is no apple")
        ]
        if refused := [one for one in comments if not one.ok]:
            await self._note("create-comment", False, why(refused[0]))
            return None
        ids: list[str] = [one.data["id"] for one in comments]
        feed, wrong = await self._client.feed_when(
            lambda feed: statuses(feed, post_id).keys() >= set(ids)
        )
        if not await self._note("create-comment", not wrong, wrong or "they are"):
            return None
        same = titles == {_TEXT} and (ids[0], _TEXT) in texts(feed)
        await self._note("texts", same, "they do" if same else f"{_TEXT!r} came back as {titles}")
        await self._moderation(post_id, ids)
        return post_id

    async def _moderation(self, post_id: str, ids: list[str]) -> None:
        wanted = dict(zip(ids, ("approved", "rejected"), strict=True))
        feed, wrong = await self._client.feed_when(lambda feed: statuses(feed, post_id) == wanted)
        found = statuses(feed, post_id)
        seen = f"with “orange”: {found.get(ids[1])}, without: {found.get(ids[0])}"
        if set(found.values()) == {"approved"} and "moderation" not in self._target.services:
            await self._note("moderation", None, f"nobody here moderates ({seen})")
        else:
            await self._note("moderation", not wrong, seen)

    async def ids(self, post_id: str) -> None:
        """Write several at once: a service that counts badly gives the same id twice."""
        posts = await asyncio.gather(*(self._client.post(f"Post {n}") for n in range(_AT_ONCE)))
        comments = await asyncio.gather(
            *(self._client.comment(post_id, f"Comment {n}") for n in range(_AT_ONCE))
        )
        if refused := [one for one in (*posts, *comments) if not one.ok]:
            await self._note("ids", False, f"{_AT_ONCE} of each at once: {why(refused[0])}")
            return
        kinds = ([one.data["id"] for one in posts], [one.data["id"] for one in comments])
        for ids in kinds:
            (most, times), *_ = Counter(ids).most_common(1)
            if times > 1:
                await self._note(
                    "ids", False, f"{most!r} is the id of {times} that were written at once"
                )
                return
        _, wrong = await self._client.feed_when(
            lambda feed: (
                {entry["id"] for entry in feed} >= set(kinds[0])
                and statuses(feed, post_id).keys() >= set(kinds[1])
            )
        )
        await self._note("ids", not wrong, wrong or "they have")

    async def codes(self, post_id: str) -> None:
        """Check the status codes of the services themselves."""
        ask, actions = self._client.ask_itself, self._target.actions
        post = await ask(actions.create_post, {"title": "A post"})
        comment = await ask(actions.create_comment, {"post_id": post_id, "content": "A comment"})
        await self._note(
            "created", (post, comment) == ("201", "201"), f"post {post}, comment {comment}"
        )
        lost, _ = await self._client.at_itself(actions.create_post.service, "GET", _NOWHERE)
        await self._note("not-found", lost == "404", f"{lost} to GET {_NOWHERE}")
        odd = await ask(actions.create_post, {"title": "x"}, b'{"title": ')
        alive = (await self._client.post("Still there?")).ok
        seen = f"{odd}, and {'it lives on' if alive else 'no post is taken after it'}"
        await self._note("nonsense", odd == "400" and alive, seen)

    async def replay(self) -> None:
        """Read the events back from the bus, and restart the service that shows the feed."""
        if (bus := self._target.its_bus) is None:
            await self._note("bus-remembers", None, "there is no event bus")
        else:
            status, body = await self._client.at_itself(bus, "GET", self._target.events)
            held, seen = _remembered(status, body)
            await self._note("bus-remembers", held, f"GET {self._target.events}: {seen}")
        before, wrong = await self._client.feed_when(bool)
        if not before:
            await self._note("replay", None, f"there was nothing to show again: {wrong}")
            return
        reader = part_of(self._target, self._target.actions.read_feed.service)
        try:
            await self._stack.supervisor.restart(
                self._stack.program(reader), ready_within_s=self._target.ready_within_s
            )
        except LabCannotRun as error:
            said = plain(str(error).replace(f"{self._stack.name}.", ""), _LONGEST)
            await self._note("replay", False, said)
            return
        after, wrong = await self._client.feed_when(lambda feed: texts(feed) >= texts(before))
        missing = len(texts(before) - texts(after))
        some = f"{missing} of {len(texts(before))} posts and comments are missing"
        await self._note(
            "replay", not wrong, some if wrong else f"all {len(texts(before))} are there"
        )


def _remembered(status: str, body: bytes) -> tuple[bool, str]:
    """Whether the response is a list of events, and what it is, in words."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return False, f"{status}, and no JSON"
    events = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    return status == "200" and bool(events), f"{status}, {len(events)} events"
