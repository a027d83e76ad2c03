"""What became of the questions between services, in a line: what a protection did, and cost."""

from lab.scenarios.asks import asks_figure
from lab.scenarios.result import Variant

_SAYS = {
    "timed_out": "{} not answered in time",
    "retried": "{} of them repeated after a failure",
    "budget_denied": "{} repetitions not allowed by the budget",
    "opened": "a circuit opened {} times",
    "broken": "{} questions refused by an open circuit",
    "bulkhead_refused": "{} refused by a full bulkhead",
    "hedged": "{} asked a second time because it took long",
    "hedge_won": "{} of those answered first",
    "fell_back": "{} went on with less",
    "given_up": "{} requests not begun, for nobody waited any more",
}


def questions(variant: Variant) -> str | None:
    """A sentence; None where nobody asks, or nothing but asking and answering happened."""
    counts = {kind: int(asks_figure(variant, kind) or 0) for kind in ("asked", "attempts", *_SAYS)}
    parts = [says.format(counts[kind]) for kind, says in _SAYS.items() if counts[kind]]
    if not parts:
        return None
    whole = f"services asked each other {counts['asked']} times, in {counts['attempts']} attempts"
    return f"{'; '.join((whole, *parts))}."


def without_a_part(variant: Variant) -> str | None:
    """The price of good answers: how many of them had a part left out; None when none had."""
    phases = {
        phase: sum(of.degraded for of in figures.endpoints.values())
        for phase, figures in variant.phases.items()
    }
    if not any(phases.values()):
        return None
    counts = ", ".join(f"{count} {phase}" for phase, count in phases.items() if count)
    return f"answers that count as good, though comments are left out of them: {counts}."


def sent_again(variant: Variant) -> str | None:
    """How often clients sent a write again; None when they never did."""
    phases = {
        phase: sum(of.retried for of in figures.endpoints.values())
        for phase, figures in variant.phases.items()
    }
    counts = ", ".join(f"{count} {phase}" for phase, count in phases.items() if count)
    return f"clients that got no answer sent their write again: {counts}." if counts else None
