"""What a search found, as text: the sentence, the deeds with their times, and the drawing."""

from textwrap import wrap

from lab.report.terminal.space_time import space_time_lines
from lab.simulation.histories.drawing import diagram_of
from lab.simulation.histories.search import Outcome
from lab.simulation.histories.sentence import describe
from lab.simulation.histories.variant import Variant

_WIDTH = 80


def outcome_lines(outcome: Outcome, goal: str, variant: Variant) -> list[str]:
    """The lines of an outcome, at most 80 columns wide."""
    history, summary = outcome.history, wrapped(outcome_summary(outcome, goal, variant))
    if history is None:
        return summary
    return [
        *wrapped(history.verdict.sentence),
        "",
        *(f"{deed.at_ms:8,.0f} ms  {describe(deed)}" for deed in history.deeds),
        "",
        *space_time_lines(diagram_of(history)),
        "",
        *summary,
    ]


def outcome_summary(outcome: Outcome, goal: str, variant: Variant) -> str:
    """How many histories were tried, and whether one reached the goal."""
    if outcome.history is None:
        rate = outcome.tried / outcome.seconds if outcome.seconds else 0.0
        return (
            f"{outcome.tried:,} histories of {variant} were tried, {rate:.0f} each second, "
            f"and none reaches the goal {goal!r}."
        )
    return (
        f"The smallest history that was found for {goal!r} in {variant}. Tried: "
        f"{outcome.tried:,} until one reached the goal, then {outcome.shrunk:,} smaller ones "
        f"({outcome.seconds:.1f} s)."
    )


def wrapped(text: str, indent: str = "") -> list[str]:
    """The text in lines of at most 80 columns."""
    return wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
