"""The commentary: a sentence on the current figures, and the course's claim that it bears on.

The figures of each pane are measured over the last two seconds. A table of rules maps them to a
sentence; the first rule that holds is used, so the most informative rules come first. The rules use
measured figures only: a fault that has no effect changes no sentence.

Shares of successes use only the last half second if that has enough responses. So a fault that was
just healed does not stay in the sentence for two more seconds.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lab.domain.services import BUS
from lab.live.broadcast import Show
from lab.live.panes import Half
from lab.live.snapshots import EVERY_MS, Tick
from lab.load.metrics import percentile

# ── Figures

ENOUGH_ANSWERS = 12
ENOUGH_TENTHS = 5


@dataclass(frozen=True)
class Picture:
    """The figures of one pane.

    `tells`: its services publish events and keep copies; `by_events`: its services ask over the
    bus. `reads`, `writes`: the share of successes (0 to 1), None without a response.
    `read_ms`, `answered_ms`, `visible_ms`: medians of the medians of each tick (100 ms).
    `down`, `hangs`: targets that are so in the last tick. `full`: the target with the longest
    queue for its workers, and the length of the queue. `untold`: the service with the fullest
    outbox, and the number of unpublished events there. `lag`: the slowest consumer, and its lag in
    events."""

    name: str
    tells: bool
    by_events: bool
    reads: float | None
    writes: float | None
    read_ms: float | None
    answered_ms: float | None
    visible_ms: float | None
    feed_age_s: float
    down: tuple[str, ...]
    hangs: tuple[str, ...]
    full: tuple[str, int] | None
    untold: tuple[str, int]
    lag: tuple[str, int]
    errors: tuple[str, ...]

    @property
    def gone(self) -> tuple[str, ...]:
        """The targets that are down or hang."""
        return (*self.down, *self.hangs)


def picture(half: Half, tenths: Sequence[dict[str, Any]]) -> Picture:
    """The figures from one pane's part of some ticks: at least one, the newest last."""
    nodes: dict[str, dict[str, Any]] = tenths[-1]["nodes"]
    full = [(name, node["queue"]) for name, node in nodes.items() if node["queue"]]
    errors = [
        error for one in tenths for kind in ("reads", "writes") for error in one[kind]["errors"]
    ]
    return Picture(
        name=half.name,
        tells=half.built.ask_by is None,
        by_events=half.built.ask_by == "events",
        reads=_share(tenths, "reads"),
        writes=_share(tenths, "writes"),
        read_ms=_middle(tenths, "read_ms"),
        answered_ms=_middle(tenths, "answered_ms"),
        visible_ms=_middle(tenths, "visible_ms"),
        feed_age_s=tenths[-1]["feed_age_ms"] / 1_000,
        down=tuple(name for name, node in nodes.items() if node["up"] is False),
        hangs=tuple(name for name, node in nodes.items() if node["up"] == "hangs"),
        full=max(full, key=lambda one: one[1], default=None),
        untold=_most(nodes, "untold"),
        lag=_most(nodes, "lag"),
        errors=tuple(dict.fromkeys(errors)),
    )


def _share(tenths: Sequence[dict[str, Any]], kind: str) -> float | None:
    ok = answers = 0
    for place, one in enumerate(reversed(tenths)):
        if place >= ENOUGH_TENTHS and answers >= ENOUGH_ANSWERS:
            break
        ok += one[kind]["ok"]
        answers += one[kind]["ok"] + one[kind]["failed"]
    return ok / answers if answers else None


def _middle(tenths: Sequence[dict[str, Any]], name: str) -> float | None:
    medians = [one[name]["p50"] for one in tenths if one[name]]
    return percentile(medians[-2 * ENOUGH_TENTHS :], 50)


def _most(nodes: dict[str, dict[str, Any]], name: str) -> tuple[str, int]:
    counts = [(node, told[name]) for node, told in nodes.items() if told[name] and node != BUS]
    return max(counts, key=lambda one: one[1], default=("", 0))


# ── Rules

WELL, ILL = 0.98, 0.9
SLOW_MS, TIMES = 60.0, 4.0
MANY = 20
OLD_S = 1.0


@dataclass(frozen=True)
class Rule:
    """A condition on the figures of both panes, its sentence, and a claim of the course.

    `when` and `says` get first the pane whose services ask, then the pane whose services tell; the
    left and the right pane where both do the same."""

    name: str
    when: Callable[[Picture, Picture], bool]
    says: Callable[[Picture, Picture], str]
    claim: str | None


def _well(share: float | None) -> bool:
    return share is None or share >= WELL


def _ill(share: float | None) -> bool:
    return share is not None and share < ILL


def _quiet(share: float | None) -> bool:
    """Whether there was no response, or too few succeeded."""
    return share is None or share < ILL


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.0f} %"


def _ms(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f} ms"


def _slow(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one > SLOW_MS and one > TIMES * other


def _who(names: Sequence[str]) -> str:
    return " and ".join(names)


def _away(of: Picture) -> str:
    return f" ({_who(of.gone)})" if of.gone else ""


def _seen_after(one: Picture, other: Picture) -> str:
    if one.visible_ms is None or other.visible_ms is None:
        return ""
    return f" Readers see a write after {_ms(one.visible_ms)} and {_ms(other.visible_ms)}."


def _how_old(tell: Picture) -> str:
    if tell.feed_age_s < OLD_S:
        return ""
    return f"; the oldest write that it does not show yet is {tell.feed_age_s:.1f} s old"


def _first(full: tuple[str, int] | None) -> str:
    return full[0] if full else ""


def _count(full: tuple[str, int] | None) -> int:
    return full[1] if full else 0


_READS_FAIL = Rule(
    "reads-fail-everywhere",
    lambda ask, tell: _ill(ask.reads) and _ill(tell.reads),
    lambda ask, tell: (
        f"Reads fail on both sides: whoever is asked for the feed is not there"
        f"{_away(tell) or _away(ask)}. "
        "A copy helps against the trouble of others, not against one's own."
    ),
    "independent",
)

_WRITES_FAIL = Rule(
    "writes-fail-everywhere",
    lambda ask, tell: _ill(ask.writes) and _ill(tell.writes),
    lambda ask, tell: (
        f"Writes fail on both sides: nobody stands in for the one who takes them"
        f"{_away(tell) or _away(ask)}."
    ),
    "independent",
)

_CALM = Rule(
    "calm",
    lambda ask, tell: _well(ask.reads) and _well(tell.reads) and ask.read_ms is not None,
    lambda ask, tell: (
        f"Both do the same work. A read takes {_ms(ask.read_ms)} in {ask.name}, "
        f"{_ms(tell.read_ms)} in {tell.name}.{_seen_after(ask, tell)}"
    ),
    None,
)

RULES: tuple[Rule, ...] = (
    _READS_FAIL,
    Rule(
        "askers-wait",
        lambda ask, tell: ask.full is not None and _quiet(ask.reads) and _well(tell.reads),
        lambda ask, tell: (
            f"{ask.name}: every worker of {_first(ask.full)} waits for "
            f"{_who(ask.gone) or 'an answer'}, and {_count(ask.full)} requests wait for a worker. "
            f"{tell.name}: reads go on, in {_ms(tell.read_ms)}."
        ),
        "dependencies",
    ),
    Rule(
        "one-down",
        lambda ask, tell: _quiet(ask.reads) and bool(ask.gone) and _well(tell.reads),
        lambda ask, tell: (
            f"{ask.name}: {_who(ask.gone)} is away, and reads fail with it "
            f"({_percent(ask.reads)} succeed), though query is well. {tell.name}: reads succeed, "
            f"from query's own copy{_how_old(tell)}."
        ),
        "one-down",
    ),
    Rule(
        "whole-fails",
        lambda ask, tell: _ill(ask.reads) and _well(tell.reads),
        lambda ask, tell: (
            f"{ask.name}: {_percent(ask.reads)} of reads succeed; one of the calls that a read is "
            f"made of fails, and the read with it. {tell.name}: {_percent(tell.reads)}."
        ),
        "whole-fails",
    ),
    Rule(
        "slowest-hop",
        lambda ask, tell: _slow(ask.read_ms, tell.read_ms),
        lambda ask, tell: (
            f"{ask.name}: a read takes {_ms(ask.read_ms)}, as long as the slowest of those it "
            f"asks. {tell.name}: {_ms(tell.read_ms)}, for it asks nobody."
        ),
        "slowest-hop",
    ),
    Rule(
        "outbox",
        lambda ask, tell: tell.untold[1] >= MANY,
        lambda ask, tell: (
            f"{tell.name}: {tell.untold[1]} events wait in the outbox of {tell.untold[0]} until "
            "the bus takes them. Writes are acknowledged as ever; the oldest that readers don't "
            f"see yet is {tell.feed_age_s:.1f} s old."
        ),
        "bus-passes-on",
    ),
    Rule(
        "lag",
        lambda ask, tell: tell.lag[1] >= MANY and not _ill(tell.reads),
        lambda ask, tell: (
            f"{tell.name}: {tell.lag[0]} is {tell.lag[1]} events behind. Reads are answered, and "
            f"the oldest write that they don't show yet is {tell.feed_age_s:.1f} s old."
        ),
        "bus-passes-on",
    ),
    Rule(
        "writes-fail-asking",
        lambda ask, tell: _ill(ask.writes) and _well(tell.writes),
        lambda ask, tell: (
            f"{ask.name}: {_percent(ask.writes)} of writes succeed: who takes them needs somebody "
            f"who is not well. {tell.name}: {_percent(tell.writes)}."
        ),
        "dependencies",
    ),
    _WRITES_FAIL,
    Rule(
        "writes-slow",
        lambda ask, tell: _slow(ask.answered_ms, tell.answered_ms),
        lambda ask, tell: (
            f"{ask.name}: a write is answered after {_ms(ask.answered_ms)}, for it waits for all "
            f"that it asks. {tell.name}: after {_ms(tell.answered_ms)}; what follows from it "
            "comes later."
        ),
        "slowest-hop",
    ),
    Rule(
        "late-feed",
        lambda ask, tell: tell.feed_age_s >= OLD_S and not _ill(tell.reads),
        lambda ask, tell: (
            f"{tell.name}: everybody is answered, and the oldest write that no reader sees yet is "
            f"{tell.feed_age_s:.1f} s old. That is the price of a copy."
        ),
        "sharing-is-hard",
    ),
    _CALM,
)
"""The rules for a pane that asks and a pane that tells."""

ALIKE: tuple[Rule, ...] = (
    _READS_FAIL,
    Rule(
        "reads-differ",
        lambda one, other: _ill(one.reads) or _ill(other.reads),
        lambda one, other: (
            f"{one.name}: {_percent(one.reads)} of reads succeed{_away(one)}. "
            f"{other.name}: {_percent(other.reads)}{_away(other)}."
        ),
        "one-down",
    ),
    Rule(
        "speeds-differ",
        lambda one, other: _slow(one.read_ms, other.read_ms) or _slow(other.read_ms, one.read_ms),
        lambda one, other: (
            f"A read takes {_ms(one.read_ms)} in {one.name}, {_ms(other.read_ms)} in {other.name}."
        ),
        "slowest-hop",
    ),
    _WRITES_FAIL,
    Rule(
        "writes-differ",
        lambda one, other: _ill(one.writes) or _ill(other.writes),
        lambda one, other: (
            f"{one.name}: {_percent(one.writes)} of writes succeed{_away(one)}. "
            f"{other.name}: {_percent(other.writes)}{_away(other)}."
        ),
        "dependencies",
    ),
    _CALM,
)
"""The rules for two panes that both ask, or both tell."""

OF_ASKING = ("dependencies", "one-down", "whole-fails", "slowest-hop")
"""The claims about asking. For request-reply over the bus, `events-like-calls` replaces them: that
requests sent as events have the same problems as calls."""


# ── Commentator

OVER_S = 2.0
SETTLED_AFTER_S = 1.0
SAY_AGAIN_AFTER_S = 4.0
"""Seconds before the same sentence is published again with new figures: viewers need time to take
it in."""


def what_is_seen(one: Picture, other: Picture) -> tuple[Rule, str, str | None] | None:
    """The first rule that holds for the two panes, its sentence, and the claim; None if no rule
    holds."""
    if one.tells and not other.tells:
        one, other = other, one
    for rule in RULES if other.tells and not one.tells else ALIKE:
        if rule.when(one, other):
            by_events = one.by_events and rule.claim in OF_ASKING
            return rule, rule.says(one, other), "events-like-calls" if by_events else rule.claim
    return None


class Seer:
    """Watches the ticks of one start, and publishes a sentence when it changes."""

    def __init__(self, halves: Sequence[Half], show: Show) -> None:
        self._halves, self._show = halves, show
        self._ticks: deque[Tick] = deque(maxlen=round(OVER_S * 1_000 / EVERY_MS))
        self._rule, self._say_again_at = "", 0.0

    def look(self, tick: Tick) -> None:
        """Add a tick; publish a sentence if another rule holds now, or if the old figures are due
        for an update."""
        self._ticks.append(tick)
        if len(self._ticks) < (self._ticks.maxlen or 0):
            return  # Too soon after a start: the first requests are not typical.
        left, right = (
            picture(half, [one["halves"][half.name] for one in self._ticks])
            for half in self._halves
        )
        seen = what_is_seen(left, right)
        name = seen[0].name if seen else ""
        if name == self._rule and tick["t"] < self._say_again_at:
            return
        # The first figures after a change mix before and after, so they are updated sooner.
        wait_s = SAY_AGAIN_AFTER_S if name == self._rule else SETTLED_AFTER_S
        self._rule, self._say_again_at = name, tick["t"] + wait_s
        if seen:
            told = {"rule": name, "says": seen[1], "claim": seen[2]}
            if told != self._show.now["seen"]:
                self._show.change("seen", told)
