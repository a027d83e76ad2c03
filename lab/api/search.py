"""`lab.search`: the smallest outage that breaks a promise, from Python.

found = lab.search("lost", "outbox=off")
found                # in a notebook: the sentence, the deeds, and the space-time diagram
found.history        # every message, commit and crash in it; None when none was found
found.sentence
"""

from lab.api.display import NotebookDisplay
from lab.api.progress import notebook_line
from lab.report.charts import Chart
from lab.report.charts.space_time import space_time_chart
from lab.report.html import notebook
from lab.report.terminal.outage import outcome_lines, outcome_summary
from lab.simulation.histories.drawing import diagram_of
from lab.simulation.histories.history import History
from lab.simulation.histories.judge import Goal
from lab.simulation.histories.search import Outcome, parse_seed
from lab.simulation.histories.search import search as search_histories
from lab.simulation.histories.sentence import describe
from lab.simulation.histories.variant import Variant, parse_variant

DEFAULT_SECONDS = 60.0


class Search(NotebookDisplay):
    """What a search found. `history`: the smallest one, or None; `tried`: histories until the first
    find, or in all; `seconds`: of this machine."""

    def __init__(self, goal: str, variant: Variant, outcome: Outcome) -> None:
        self.goal, self.variant = goal, str(variant)
        self.history: History | None = outcome.history
        self.tried, self.seconds = outcome.tried, outcome.seconds
        self._summary = outcome_summary(outcome, goal, variant)
        self._lines = outcome_lines(outcome, goal, variant)

    @property
    def sentence(self) -> str:
        """What happened, or how many histories were tried without a find."""
        return self.history.verdict.sentence if self.history else self._summary

    @property
    def deeds(self) -> tuple[str, ...]:
        """What was done, in order, each as a clause; () when none was found."""
        return tuple(map(describe, self.history.deeds)) if self.history else ()

    def chart(self) -> Chart | None:
        """The space-time diagram; None when none was found."""
        return space_time_chart(diagram_of(self.history)) if self.history else None

    def __repr__(self) -> str:
        what = f"{len(self.deeds)} deeds" if self.history else "no history"
        return f"<{self.goal} in {self.variant}: {what} found, {self.tried:,} tried>"

    def _text(self) -> str:
        return "\n".join(self._lines)

    def _html(self) -> str:
        chart, summary = self.chart(), notebook.as_paragraph(self._summary)
        if self.history is None or chart is None:
            return notebook.cell_html(summary)
        deeds = zip(self.history.deeds, self.deeds, strict=True)
        return notebook.cell_html(
            notebook.as_paragraph(self.sentence),
            notebook.table(
                "What is done",
                ["at", "deed"],
                ((f"{deed.at_ms:,.0f} ms", clause.replace("`", "")) for deed, clause in deeds),
                left_columns=2,
            ),
            notebook.inline_svg(chart),
            summary,
        )


def search(
    goal: str = "any",
    *variant: str,
    seed: int | str = 1,
    histories: int | None = None,
    seconds: float | None = None,
) -> Search:
    """Search for the smallest history of failures that reaches a goal.

    - `goal`: lost, missing, doubled, diverged, stale:5s, out-of-order, refused-kept, stuck, any, or
      an expression over the checker's figures, as `"missing > 1"`.
    - `variant`: an arrangement and switches, as `"sync-chain"`, `"outbox=off"`; without them,
      async-bus with everything on.
    - `seed`: which histories; `"1:47"` begins at history 47 of seed 1 (`history.seed`).
    - `histories`, `seconds`: when to give up; without both, after a minute.

    No process is started. Raises ValueError for an unknown goal or variant.
    """
    wanted, chosen = Goal(goal), parse_variant(list(variant))
    number, first = parse_seed(str(seed))
    for name, limit, least in (("histories", histories, 1), ("seconds", seconds, 0)):
        if limit is not None and limit < least:
            raise ValueError(f"{name} = {limit}: expected {least} or more.")
    if histories is None and seconds is None:
        seconds = DEFAULT_SECONDS
    with notebook_line() as show:
        outcome = search_histories(
            wanted,
            chosen,
            seed=number,
            first=first,
            histories=histories,
            seconds=seconds,
            progress=lambda tried: show(f"{tried:,} histories of {chosen}") if tried else None,
        )
    return Search(goal, chosen, outcome)
