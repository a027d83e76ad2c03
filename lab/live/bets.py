"""Bets: the room answers a question before a key is pressed, then sees the measured answer.

A bet is open until the presenter closes it. While it is open, only the number of answers is shown,
because people follow a majority that they see. After that come the bars, and from the next fault on
the lab measures which answer holds. One phone has one answer; until the bet is closed, the phone
can change it. Who chose what is kept by the number of the phone, without a name.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from lab.domain.errors import Conflict, Invalid
from lab.live.broadcast import Broadcast, encode
from lab.live.phones import Phone, Phones
from lab.live.snapshots import Tick
from lab.scenarios.spec import BetSpec

SETTLED_AFTER_S = 1.0
"""Requests in flight at the moment of a fault say nothing about it."""
DECIDED_AFTER_S = 2.0
FRESH_MS = 1_000
MOST = 0.5
ANSWER_EVERY_S = 0.3
PUBLISH_EVERY_S = 0.5

READY_QUESTIONS = (
    BetSpec(question="comments is killed. Who can still read the feed?", measure="reads"),
    BetSpec(question="comments is killed. Who can still write a post?", measure="posts"),
    BetSpec(question="comments is killed. Who can still write a comment?", measure="comments"),
    BetSpec(question="comments hangs. Who can still read the feed?", measure="reads"),
    BetSpec(question="comments is 300 ms slower. Whose feed stays up to date?", measure="fresh"),
    BetSpec(question="The bus is killed. Who can still write a post?", measure="posts"),
    BetSpec(question="The bus is killed. Whose feed stays up to date?", measure="fresh"),
    BetSpec(question="The next fault: who can still read the feed?", measure="reads"),
)
"""The questions of docs/teaching.md."""


@dataclass
class Measurement:
    """What was measured in both halves while a fault was active. `reads`, `posts`, `comments`: how
    many succeeded and failed, for each half; `fresh`: ticks with a feed that is up to date, and the
    others; `lag_ms`: the largest lag, None without a feed."""

    fault: str
    ticks: int = 0
    first_t: float = 0.0
    last_t: float = 0.0
    sums: dict[str, list[list[int]]] = field(
        default_factory=lambda: {
            kind: [[0, 0], [0, 0]] for kind in ("reads", "posts", "comments", "fresh")
        }
    )
    lag_ms: list[int | None] = field(default_factory=lambda: [None, None])

    def add(self, tick: Tick) -> None:
        self.first_t = self.first_t if self.ticks else tick["t"]
        self.last_t = tick["t"]
        self.ticks += 1
        for side, pane in enumerate(tick["halves"].values()):
            for kind in ("reads", "posts", "comments"):
                self.sums[kind][side][0] += pane[kind]["ok"]
                self.sums[kind][side][1] += pane[kind]["failed"]
            has_feed = pane["feed_ok"] is not False
            is_fresh = has_feed and pane["feed_age_ms"] < FRESH_MS
            self.sums["fresh"][side][0 if is_fresh else 1] += 1
            if has_feed:
                self.lag_ms[side] = max(self.lag_ms[side] or 0, pane["feed_age_ms"])

    @property
    def seconds(self) -> float:
        return round(self.last_t - self.first_t, 1)

    def holds(self, measure: str) -> int | None:
        """The answer that holds: 0 left, 1 right, 2 both, 3 neither; None until it is decided."""
        if self.seconds < DECIDED_AFTER_S:
            return None
        left, right = (ok > MOST * (ok + failed) for ok, failed in self.sums[measure])
        return {(True, False): 0, (False, True): 1, (True, True): 2}.get((left, right), 3)

    def to_json(self) -> dict[str, Any]:
        return {
            "fault": self.fault,
            "seconds": self.seconds,
            **{kind: [list(pair) for pair in pairs] for kind, pairs in self.sums.items()},
            "lag_ms": list(self.lag_ms),
        }


@dataclass
class Bet:
    """A bet. `votes`: the answer of each phone, by its number; `holds`: the answer that is right,
    `decided_by` the measurement or the presenter."""

    number: int
    spec: BetSpec
    answers: Sequence[str]
    asked_t: float
    state: Literal["open", "closed"] = "open"
    votes: dict[int, int] = field(default_factory=dict)
    measurement: Measurement | None = None
    holds: int | None = None
    decided_by: Literal["measurement", "presenter"] | None = None

    def counts(self, side: int | None = None) -> list[int]:
        """The number of phones for each answer, of all phones or of those of one side."""
        counted = Counter(
            answer for number, answer in self.votes.items() if side in (None, number % 2)
        )
        return [counted[index] for index in range(len(self.answers))]

    def to_json(self) -> dict[str, Any]:
        is_open = self.state == "open"
        return {
            "n": self.number,
            "question": self.spec.question,
            "answers": list(self.answers),
            "measure": self.spec.measure,
            "state": self.state,
            "answered": len(self.votes),
            "counts": None if is_open else self.counts(),
            "by_side": None if is_open else [self.counts(0), self.counts(1)],
            "measured": self.measurement.to_json() if self.measurement else None,
            "holds": self.holds,
            "decided_by": self.decided_by,
        }

    def phone_json(self) -> dict[str, Any]:
        """What a phone needs to know."""
        keys = ("n", "question", "answers", "state", "counts", "holds")
        return {key: value for key, value in self.to_json().items() if key in keys}


class Bets:
    """The bets of a session. `questions` gives those of the scenario that is shown, if any; the
    finished bets are kept in `folder`."""

    def __init__(
        self,
        broadcast: Broadcast,
        phones: Phones,
        questions: Callable[[], Sequence[BetSpec]] = tuple,
        folder: Path | None = None,
    ) -> None:
        self._questions = questions
        self.current: Bet | None = None
        self.finished: list[dict[str, Any]] = []
        self._broadcast, self._phones, self._folder = broadcast, phones, folder
        self._number = 0
        self._answered_s: dict[int, float] = {}
        self._published: tuple[Any, Any] = (None, None)
        self._faults: Sequence[Mapping[str, Any]] = ()

    @property
    def ready(self) -> Sequence[BetSpec]:
        """The questions that are ready: those of the scenario, or else those of the lab."""
        return tuple(self._questions()) or READY_QUESTIONS

    def ask(self, spec: BetSpec) -> dict[str, Any]:
        """Open a bet. Raises Conflict while another one is on the screen."""
        if self.current is not None:
            raise Conflict("A bet is on the screen already. Finish it first: key a.")
        self._number += 1
        names = [pane["name"] for pane in self._broadcast.fixed_state["halves"]]
        answers = spec.answers or (f"only {names[0]}", f"only {names[1]}", "both", "neither")
        self.current = Bet(self._number, spec, answers, self._broadcast.elapsed_s)
        self._answered_s.clear()
        self._log(f"The room is asked: {spec.question}")
        self._publish()
        return self.current.to_json()

    def close(self) -> dict[str, Any]:
        """Accept no more answers, and show the bars. Raises Conflict if no bet is open."""
        bet = self._require("open")
        bet.state = "closed"
        counts = ", ".join(
            f"{answer} {count}" for answer, count in zip(bet.answers, bet.counts(), strict=True)
        )
        self._log(f"The room bets: {counts}")
        self._publish()
        return bet.to_json()

    def decide(self, answer: int) -> dict[str, Any]:
        """Mark this answer as the right one. Raises Conflict if no bet is closed, Invalid."""
        bet = self._require("closed")
        if answer >= len(bet.answers):
            raise Invalid(f"This bet has {len(bet.answers)} answers.", field="answer")
        bet.holds, bet.decided_by = answer, "presenter"
        self._publish()
        return bet.to_json()

    def finish(self) -> dict[str, Any]:
        """Remove the bet from the screens, and keep it. Raises Conflict if no bet is closed."""
        bet = self._require("closed")
        self.finished.append(
            {**bet.to_json(), "t": bet.asked_t, "votes": sorted(bet.votes.items())}
        )
        if self._folder is not None:
            text = json.dumps({"bets": self.finished}, indent=1)
            (self._folder / "bets.json").write_text(text, encoding="utf-8")
        if bet.holds is not None:
            right = bet.counts()[bet.holds]
            self._log(
                f"Bet {bet.number}: {bet.answers[bet.holds]}. {right} of {len(bet.votes)} said so."
            )
        self.current = None
        self._publish()
        return {"finished": len(self.finished)}

    @property
    def is_open(self) -> bool:
        """Whether a bet takes answers."""
        return self.current is not None and self.current.state == "open"

    def drop(self) -> None:
        """Close and remove whatever bet is on the screens."""
        if self.is_open:
            self.close()
        if self.current is not None:
            self.finish()

    def vote(self, phone: Phone, number: int, answer: int) -> None:
        """Take the answer of a phone. Raises Conflict if this bet is not open, or the phone answers
        too often; Invalid for an unknown answer."""
        bet = self.current
        if bet is None or bet.number != number or bet.state != "open":
            raise Conflict("This bet is closed.")
        if answer >= len(bet.answers):
            raise Invalid(f"This bet has {len(bet.answers)} answers.", field="answer")
        now_s = perf_counter()
        if now_s - self._answered_s.get(phone.number, float("-inf")) < ANSWER_EVERY_S:
            raise Conflict("You have just answered. Wait a moment.")
        self._answered_s[phone.number] = now_s
        bet.votes[phone.number] = answer

    def phone_json(self, phone: Phone) -> dict[str, Any] | None:
        """The current bet for this phone, with its own answer as `mine`."""
        if self.current is None:
            return None
        return {**self.current.phone_json(), "mine": self.current.votes.get(phone.number)}

    def on_message(self, name: str, data: Any) -> None:
        """Take a message of the broadcast."""
        if name == "hello":
            self._faults = ()
        elif name == "faults":
            self._faults = data
        elif name == "tick":
            self._add_tick(data)

    def _add_tick(self, tick: Tick) -> None:
        bet = self.current
        if bet is None or bet.state != "closed" or not self._faults:
            return
        if tick["t"] - max(fault["since_t"] for fault in self._faults) < SETTLED_AFTER_S:
            return
        newest = self._faults[-1]
        if bet.measurement is None:
            bet.measurement = Measurement(f"{newest['target']} {newest['kind']}")
        bet.measurement.add(tick)
        if bet.spec.measure and bet.decided_by != "presenter":
            bet.holds = bet.measurement.holds(bet.spec.measure)
            bet.decided_by = "measurement" if bet.holds is not None else None

    async def run(self) -> None:
        """Publish what has changed, twice a second, until cancelled."""
        while True:
            self._publish()
            await asyncio.sleep(PUBLISH_EVERY_S)

    def _publish(self) -> None:
        phones = self._phones.counts()
        state = {**self.current.to_json(), "phones": phones} if self.current else None
        for_phones = self.current.phone_json() if self.current else None
        before, before_for_phones = self._published
        self._published = state, for_phones
        if self._broadcast.current_state.get("phones") != phones:
            self._broadcast.set_state("phones", phones)
        if state != before:
            self._broadcast.set_state("bet", state)
        if for_phones != before_for_phones:
            self._phones.send("bet", encode(for_phones))

    def _require(self, state: str) -> Bet:
        if self.current is None or self.current.state != state:
            raise Conflict(f"No bet is {state}. Key a asks the room.")
        return self.current

    def _log(self, text: str) -> None:
        self._broadcast.log_action(text, "script")
