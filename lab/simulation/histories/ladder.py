"""The switches one by one: what breaks a promise without it, and that nothing does with it."""

from collections.abc import Iterator
from dataclasses import dataclass

from lab.simulation.histories.judge import Goal
from lab.simulation.histories.search import Outcome, search
from lab.simulation.histories.variant import Variant, parse_variant


@dataclass(frozen=True)
class Rung:
    """A promise, the goal of a search that breaks it, and the variants without and with what keeps
    it (as words of `lab search --variant`)."""

    promise: str
    goal: str
    without: tuple[str, ...]
    kept_by: tuple[str, ...]


RUNGS = (
    Rung("A comment is whole: no verdict without it.", "orphaned > 0", ("sync-chain",), ()),
    Rung("A consumer that was down gets what it missed.", "missing", ("bus=course",), ()),
    Rung("What was acknowledged is published.", "missing", ("outbox=off",), ()),
    Rung("What comes twice is applied once.", "doubled", ("dedupe=off",), ()),
    Rung("What is lost on the way is read again.", "diverged", ("dedupe=off",), ()),
)


@dataclass(frozen=True)
class Climbed:
    """The two searches of a rung. `broken`: without the switch; `kept`: with it."""

    rung: Rung
    without: Variant
    kept_by: Variant
    broken: Outcome
    kept: Outcome


def climb(seed: int, seconds: float) -> Iterator[Climbed]:
    """Search each rung without and with its switch, each at most so long."""
    for rung in RUNGS:
        goal = Goal(rung.goal)
        without, kept_by = parse_variant(list(rung.without)), parse_variant(list(rung.kept_by))
        broken = search(goal, without, seed=seed, seconds=seconds)
        yield Climbed(
            rung, without, kept_by, broken, search(goal, kept_by, seed=seed, seconds=seconds)
        )
