"""Rules for what is to be seen: when each holds, what it says, and the claim it bears on.

Tables, not branches: the first rule that holds speaks, so the most telling come first. They look at
measured figures only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.live.picture import Picture

WELL, ILL = 0.98, 0.9
SLOW_MS, TIMES = 60.0, 4.0
MANY = 20
OLD_S = 1.0


@dataclass(frozen=True)
class Rule:
    """`when` holds of two pictures: one of services that ask and one of such that tell; or, where
    both do the same, the left one and the right one."""

    name: str
    when: Callable[[Picture, Picture], bool]
    says: Callable[[Picture, Picture], str]
    claim: str | None


def _well(share: float | None) -> bool:
    return share is None or share >= WELL


def _ill(share: float | None) -> bool:
    return share is not None and share < ILL


def _quiet(share: float | None) -> bool:
    """Nothing came back at all, or hardly anything good."""
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
"""Of one that asks and one that tells."""

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
"""Of two that both ask, or both tell."""

OF_ASKING = ("dependencies", "one-down", "whole-fails", "slowest-hop")
"""What is claimed of asking; where questions travel as events, it bears on that they hurt alike."""
