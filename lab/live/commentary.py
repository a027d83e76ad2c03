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
from lab.live.broadcast import Broadcast
from lab.live.panes import Pane
from lab.live.snapshots import TICK_MS, Tick
from lab.load.metrics import percentile

# ── Figures

ENOUGH_RESPONSES = 12
ENOUGH_TICKS = 5


@dataclass(frozen=True)
class PaneFigures:
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
    hanging: tuple[str, ...]
    longest_queue: tuple[str, int] | None
    fullest_outbox: tuple[str, int]
    slowest_consumer: tuple[str, int]
    errors: tuple[str, ...]

    @property
    def unavailable(self) -> tuple[str, ...]:
        """The targets that are down or hang."""
        return (*self.down, *self.hanging)


def measure_pane(pane: Pane, pane_ticks: Sequence[dict[str, Any]]) -> PaneFigures:
    """The figures from one pane's part of some ticks: at least one, the newest last."""
    nodes: dict[str, dict[str, Any]] = pane_ticks[-1]["nodes"]
    queues = [(name, node["queue"]) for name, node in nodes.items() if node["queue"]]
    errors = [
        error
        for tick in pane_ticks
        for kind in ("reads", "writes")
        for error in tick[kind]["errors"]
    ]
    return PaneFigures(
        name=pane.name,
        tells=pane.resolved_arrangement.ask_by is None,
        by_events=pane.resolved_arrangement.ask_by == "events",
        reads=_success_share(pane_ticks, "reads"),
        writes=_success_share(pane_ticks, "writes"),
        read_ms=_recent_median(pane_ticks, "read_ms"),
        answered_ms=_recent_median(pane_ticks, "answered_ms"),
        visible_ms=_recent_median(pane_ticks, "visible_ms"),
        feed_age_s=pane_ticks[-1]["feed_age_ms"] / 1_000,
        down=tuple(name for name, node in nodes.items() if node["up"] is False),
        hanging=tuple(name for name, node in nodes.items() if node["up"] == "hangs"),
        longest_queue=max(queues, key=lambda entry: entry[1], default=None),
        fullest_outbox=_largest(nodes, "untold"),
        slowest_consumer=_largest(nodes, "lag"),
        errors=tuple(dict.fromkeys(errors)),
    )


def _success_share(pane_ticks: Sequence[dict[str, Any]], kind: str) -> float | None:
    ok = responses = 0
    for age, tick in enumerate(reversed(pane_ticks)):
        if age >= ENOUGH_TICKS and responses >= ENOUGH_RESPONSES:
            break
        ok += tick[kind]["ok"]
        responses += tick[kind]["ok"] + tick[kind]["failed"]
    return ok / responses if responses else None


def _recent_median(pane_ticks: Sequence[dict[str, Any]], name: str) -> float | None:
    medians = [tick[name]["p50"] for tick in pane_ticks if tick[name]]
    return percentile(medians[-2 * ENOUGH_TICKS :], 50)


def _largest(nodes: dict[str, dict[str, Any]], name: str) -> tuple[str, int]:
    counts = [(node, state[name]) for node, state in nodes.items() if state[name] and node != BUS]
    return max(counts, key=lambda entry: entry[1], default=("", 0))


# ── Rules

HEALTHY_SHARE, FAILING_SHARE = 0.98, 0.9
SLOW_MS, SLOW_FACTOR = 60.0, 4.0
BACKLOG_EVENTS = 20
STALE_AFTER_S = 1.0


@dataclass(frozen=True)
class Rule:
    """A condition on the figures of both panes, its sentence, and a claim of the course.

    `when` and `says` get first the pane whose services ask, then the pane whose services tell; the
    left and the right pane where both do the same."""

    name: str
    when: Callable[[PaneFigures, PaneFigures], bool]
    sentence: Callable[[PaneFigures, PaneFigures], str]
    claim: str | None


def _is_healthy(share: float | None) -> bool:
    return share is None or share >= HEALTHY_SHARE


def _is_failing(share: float | None) -> bool:
    return share is not None and share < FAILING_SHARE


def _is_failing_or_silent(share: float | None) -> bool:
    """Whether there was no response, or too few succeeded."""
    return share is None or share < FAILING_SHARE


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.0f} %"


def _ms(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f} ms"


def _is_much_slower(first: float | None, second: float | None) -> bool:
    return (
        first is not None
        and second is not None
        and first > SLOW_MS
        and first > SLOW_FACTOR * second
    )


def _join_names(names: Sequence[str]) -> str:
    return " and ".join(names)


def _unavailable_note(figures: PaneFigures) -> str:
    return f" ({_join_names(figures.unavailable)})" if figures.unavailable else ""


def _visibility_note(first: PaneFigures, second: PaneFigures) -> str:
    if first.visible_ms is None or second.visible_ms is None:
        return ""
    return f" Readers see a write after {_ms(first.visible_ms)} and {_ms(second.visible_ms)}."


def _feed_age_note(tell: PaneFigures) -> str:
    if tell.feed_age_s < STALE_AFTER_S:
        return ""
    return f"; the oldest write that it does not show yet is {tell.feed_age_s:.1f} s old"


def _queue_target(queue: tuple[str, int] | None) -> str:
    return queue[0] if queue else ""


def _queue_length(queue: tuple[str, int] | None) -> int:
    return queue[1] if queue else 0


_READS_FAIL = Rule(
    "reads-fail-everywhere",
    lambda ask, tell: _is_failing(ask.reads) and _is_failing(tell.reads),
    lambda ask, tell: (
        f"Reads fail on both sides: whoever is asked for the feed is not there"
        f"{_unavailable_note(tell) or _unavailable_note(ask)}. "
        "A copy helps against the trouble of others, not against one's own."
    ),
    "independent",
)

_WRITES_FAIL = Rule(
    "writes-fail-everywhere",
    lambda ask, tell: _is_failing(ask.writes) and _is_failing(tell.writes),
    lambda ask, tell: (
        f"Writes fail on both sides: nobody stands in for the one who takes them"
        f"{_unavailable_note(tell) or _unavailable_note(ask)}."
    ),
    "independent",
)

_CALM = Rule(
    "calm",
    lambda ask, tell: (
        _is_healthy(ask.reads) and _is_healthy(tell.reads) and ask.read_ms is not None
    ),
    lambda ask, tell: (
        f"Both do the same work. A read takes {_ms(ask.read_ms)} in {ask.name}, "
        f"{_ms(tell.read_ms)} in {tell.name}.{_visibility_note(ask, tell)}"
    ),
    None,
)

RULES: tuple[Rule, ...] = (
    _READS_FAIL,
    Rule(
        "askers-wait",
        lambda ask, tell: (
            ask.longest_queue is not None
            and _is_failing_or_silent(ask.reads)
            and _is_healthy(tell.reads)
        ),
        lambda ask, tell: (
            f"{ask.name}: every worker of {_queue_target(ask.longest_queue)} waits for "
            f"{_join_names(ask.unavailable) or 'an answer'}, and "
            f"{_queue_length(ask.longest_queue)} requests wait for a worker. "
            f"{tell.name}: reads go on, in {_ms(tell.read_ms)}."
        ),
        "dependencies",
    ),
    Rule(
        "one-down",
        lambda ask, tell: (
            _is_failing_or_silent(ask.reads) and bool(ask.unavailable) and _is_healthy(tell.reads)
        ),
        lambda ask, tell: (
            f"{ask.name}: {_join_names(ask.unavailable)} is away, and reads fail with it "
            f"({_percent(ask.reads)} succeed), though query is well. {tell.name}: reads succeed, "
            f"from query's own copy{_feed_age_note(tell)}."
        ),
        "one-down",
    ),
    Rule(
        "whole-fails",
        lambda ask, tell: _is_failing(ask.reads) and _is_healthy(tell.reads),
        lambda ask, tell: (
            f"{ask.name}: {_percent(ask.reads)} of reads succeed; one of the calls that a read is "
            f"made of fails, and the read with it. {tell.name}: {_percent(tell.reads)}."
        ),
        "whole-fails",
    ),
    Rule(
        "slowest-hop",
        lambda ask, tell: _is_much_slower(ask.read_ms, tell.read_ms),
        lambda ask, tell: (
            f"{ask.name}: a read takes {_ms(ask.read_ms)}, as long as the slowest of those it "
            f"asks. {tell.name}: {_ms(tell.read_ms)}, for it asks nobody."
        ),
        "slowest-hop",
    ),
    Rule(
        "outbox",
        lambda ask, tell: tell.fullest_outbox[1] >= BACKLOG_EVENTS,
        lambda ask, tell: (
            f"{tell.name}: {tell.fullest_outbox[1]} events wait in the outbox of "
            f"{tell.fullest_outbox[0]} until the bus takes them. Writes are acknowledged as "
            f"before; the oldest that readers don't see yet is {tell.feed_age_s:.1f} s old."
        ),
        "bus-passes-on",
    ),
    Rule(
        "lag",
        lambda ask, tell: (
            tell.slowest_consumer[1] >= BACKLOG_EVENTS and not _is_failing(tell.reads)
        ),
        lambda ask, tell: (
            f"{tell.name}: {tell.slowest_consumer[0]} is {tell.slowest_consumer[1]} events behind. "
            "Reads are answered, and the oldest write that they don't show yet is "
            f"{tell.feed_age_s:.1f} s old."
        ),
        "bus-passes-on",
    ),
    Rule(
        "writes-fail-asking",
        lambda ask, tell: _is_failing(ask.writes) and _is_healthy(tell.writes),
        lambda ask, tell: (
            f"{ask.name}: {_percent(ask.writes)} of writes succeed: who takes them needs somebody "
            f"who is not well. {tell.name}: {_percent(tell.writes)}."
        ),
        "dependencies",
    ),
    _WRITES_FAIL,
    Rule(
        "writes-slow",
        lambda ask, tell: _is_much_slower(ask.answered_ms, tell.answered_ms),
        lambda ask, tell: (
            f"{ask.name}: a write is answered after {_ms(ask.answered_ms)}, for it waits for all "
            f"that it asks. {tell.name}: after {_ms(tell.answered_ms)}; what follows from it "
            "comes later."
        ),
        "slowest-hop",
    ),
    Rule(
        "late-feed",
        lambda ask, tell: tell.feed_age_s >= STALE_AFTER_S and not _is_failing(tell.reads),
        lambda ask, tell: (
            f"{tell.name}: everybody is answered, and the oldest write that no reader sees yet is "
            f"{tell.feed_age_s:.1f} s old. That is the price of a copy."
        ),
        "sharing-is-hard",
    ),
    _CALM,
)
"""The rules for a pane that asks and a pane that tells."""

SAME_STYLE_RULES: tuple[Rule, ...] = (
    _READS_FAIL,
    Rule(
        "reads-differ",
        lambda first, second: _is_failing(first.reads) or _is_failing(second.reads),
        lambda first, second: (
            f"{first.name}: {_percent(first.reads)} of reads succeed{_unavailable_note(first)}. "
            f"{second.name}: {_percent(second.reads)}{_unavailable_note(second)}."
        ),
        "one-down",
    ),
    Rule(
        "speeds-differ",
        lambda first, second: (
            _is_much_slower(first.read_ms, second.read_ms)
            or _is_much_slower(second.read_ms, first.read_ms)
        ),
        lambda first, second: (
            f"A read takes {_ms(first.read_ms)} in {first.name}, "
            f"{_ms(second.read_ms)} in {second.name}."
        ),
        "slowest-hop",
    ),
    _WRITES_FAIL,
    Rule(
        "writes-differ",
        lambda first, second: _is_failing(first.writes) or _is_failing(second.writes),
        lambda first, second: (
            f"{first.name}: {_percent(first.writes)} of writes succeed{_unavailable_note(first)}. "
            f"{second.name}: {_percent(second.writes)}{_unavailable_note(second)}."
        ),
        "dependencies",
    ),
    _CALM,
)
"""The rules for two panes that both ask, or both tell."""

CLAIMS_ABOUT_ASKING = ("dependencies", "one-down", "whole-fails", "slowest-hop")
"""The claims about asking. For request-reply over the bus, `events-like-calls` replaces them: that
requests sent as events have the same problems as calls."""


# ── Commentator

FIGURES_WINDOW_S = 2.0
SETTLED_AFTER_S = 1.0
REPEAT_AFTER_S = 4.0
"""Seconds before the same sentence is published again with new figures: viewers need time to take
it in."""


def first_matching_rule(
    first: PaneFigures, second: PaneFigures
) -> tuple[Rule, str, str | None] | None:
    """The first rule that holds for the two panes, its sentence, and the claim; None if no rule
    holds."""
    if first.tells and not second.tells:
        first, second = second, first
    for rule in RULES if second.tells and not first.tells else SAME_STYLE_RULES:
        if rule.when(first, second):
            by_events = first.by_events and rule.claim in CLAIMS_ABOUT_ASKING
            return (
                rule,
                rule.sentence(first, second),
                "events-like-calls" if by_events else rule.claim,
            )
    return None


class Commentator:
    """Watches the ticks of one start, and publishes a sentence when it changes."""

    def __init__(self, panes: Sequence[Pane], broadcast: Broadcast) -> None:
        self._panes, self._broadcast = panes, broadcast
        self._ticks: deque[Tick] = deque(maxlen=round(FIGURES_WINDOW_S * 1_000 / TICK_MS))
        self._last_rule, self._repeat_at_s = "", 0.0

    def add_tick(self, tick: Tick) -> None:
        """Add a tick; publish a sentence if another rule holds now, or if the old figures are due
        for an update."""
        self._ticks.append(tick)
        if len(self._ticks) < (self._ticks.maxlen or 0):
            return  # Too soon after a start: the first requests are not typical.
        left, right = (
            measure_pane(pane, [tick["halves"][pane.name] for tick in self._ticks])
            for pane in self._panes
        )
        match = first_matching_rule(left, right)
        name = match[0].name if match else ""
        if name == self._last_rule and tick["t"] < self._repeat_at_s:
            return
        # The first figures after a change mix before and after, so they are updated sooner.
        wait_s = REPEAT_AFTER_S if name == self._last_rule else SETTLED_AFTER_S
        self._last_rule, self._repeat_at_s = name, tick["t"] + wait_s
        if match:
            comment = {"rule": name, "says": match[1], "claim": match[2]}
            if comment != self._broadcast.current_state["seen"]:
                self._broadcast.set_state("seen", comment)
