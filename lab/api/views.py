"""The commands that run no scenario, from Python: `lab.show`, `lab.claims`, `lab.trace` and others.

Each function has the name of its command and returns an object that displays itself: a table or
text in a notebook, text elsewhere. Messages of errors are those of the command line.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from lab.api.display import NotebookDisplay, NotebookSequence
from lab.api.result import Comparison, Result
from lab.api.tasks import LoopThread
from lab.api.trace import TracedRequest
from lab.cluster.arrangements import ARRANGEMENTS
from lab.domain.services import TWINS
from lab.report.html import notebook
from lab.report.sections import headline
from lab.report.terminal import code_diff, listing
from lab.report.terminal.trace import show_traces
from lab.report.tracing import design as observed
from lab.report.tracing.design import Dependency
from lab.report.tracing.trace import REQUESTS, slowest_traces, trace_request
from lab.results.run_folder import find_run, saved_runs
from lab.scenarios import catalogue
from lab.scenarios.scenario import Scenario
from lab.support.text import did_you_mean


class View(NotebookDisplay):
    """What a command prints."""

    def __init__(self, name: str, render: Callable[[Console], None]) -> None:
        self._name = name
        self._shown = notebook.as_text(render)

    def _text(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"<{self._name}: print() shows it>"


class SavedRuns(NotebookSequence[Result]):
    """Saved runs, newest first."""

    def __repr__(self) -> str:
        return f"<{len(self)} saved runs>"

    def _rows(self) -> Iterator[list[str]]:
        for result in self:
            yield [result.started[:16].replace("T", " "), headline(result), str(result.folder)]

    def _text(self) -> str:
        lines = ["  ".join(row) for row in self._rows()]
        return "\n".join(lines or ['There is no saved run here. Run one: lab.run("slow-service")'])

    def _html(self) -> str:
        headings = ["started", "result", "folder"]
        return notebook.cell_html(
            notebook.table("Saved runs", headings, self._rows(), left_columns=3)
        )


class Traces(NotebookSequence[TracedRequest]):
    """The same request in several variants, each drawn as a waterfall."""

    def __repr__(self) -> str:
        return f"<{', '.join(map(repr, self))}>"

    def _text(self) -> str:
        stories = [one.story for one in self]
        return notebook.as_text(lambda console: show_traces(stories, console))


def show(name: str | Scenario) -> View:
    """One scenario: its question, its load, and its faults over time. Raises UnknownName or
    ScenarioError."""
    scenario = name if isinstance(name, Scenario) else catalogue.find(name)
    shown_name = scenario.name if isinstance(name, Scenario) else name
    return View(scenario.name, lambda console: listing.show_scenario(scenario, console, shown_name))


def runs(limit: int = 20) -> SavedRuns:
    """The newest saved runs in the folder `runs` here, at most `limit`."""
    if limit < 1:
        raise ValueError(f"limit = {limit}: expected 1 or more.")
    folders = [folder for _, (folder, _) in zip(range(limit), saved_runs(), strict=False)]
    return SavedRuns([Result.load_run(folder) for folder in folders])


def claims() -> View:
    """The claims of the course, and what the runs saved here measured for each."""
    results = [result for _, result in saved_runs()]
    scenarios = catalogue.builtin_scenarios()
    return View("claims", lambda console: listing.show_claims(scenarios, results, console))


def compare(one: str | Path | Result, other: str | Path | Result = "last") -> Comparison:
    """Two runs side by side: results, folders, names of scenarios, or "last".

    Raises ResultError for a run that is not there.
    """
    return _loaded(one).compare(_loaded(other))


def diff(service: str, other: str = "async-bus") -> View:
    """A service in two architectures: in sync-chain, and in `other`. Raises LookupError."""
    _require(service, code_diff.FILES, "service")
    _require(other, ARRANGEMENTS, "arrangement")
    return View(
        f"{service} in sync-chain and {other}",
        lambda console: code_diff.show_diff(service, other, console),
    )


def design() -> View:
    """The four design steps of the course, as measured: each arrangement runs for a moment."""
    owners, goals = observed.responsibilities("async-bus"), observed.goals("sync-chain")
    dependencies = {name: _dependencies(name) for name in ARRANGEMENTS}
    return View(
        "design",
        lambda console: listing.show_design(owners, dependencies.items(), goals, console),
    )


def trace(
    what: str = "comment",
    *,
    in_: Sequence[str] | str | None = None,
    run: str | Path | None = None,
) -> Traces:
    """One request ("comment", "feed" or "post") through all processes, and who waited for whom.

    - `in_`: the arrangements in which it is sent, or the variants of `run`; the twins if not given.
    - `run`: a saved run, whose slowest request of the phase `during` is shown instead.

    Raises LookupError for an unknown name, and ResultError for an unknown run.
    """
    _require(what, REQUESTS, "request")
    names = [in_] if isinstance(in_, str) else list(in_ or ())
    if run is not None:
        return Traces(
            [TracedRequest(one) for one in slowest_traces(find_run(str(run)), what, names)]
        )
    for name in names:
        _require(name, ARRANGEMENTS, "arrangement")
    return Traces([_new_trace(name, what) for name in dict.fromkeys(names or TWINS)])


def _dependencies(arrangement: str) -> list[Dependency]:
    with TemporaryDirectory(prefix="lab-design-") as folder, LoopThread() as loop:
        return loop.run(observed.observed_dependencies(arrangement, Path(folder)))


def _new_trace(arrangement: str, what: str) -> TracedRequest:
    with TemporaryDirectory(prefix="lab-trace-") as folder, LoopThread() as loop:
        return TracedRequest(loop.run(trace_request(arrangement, what, Path(folder))))


def _loaded(run: str | Path | Result) -> Result:
    return run if isinstance(run, Result) else Result.load_run(find_run(str(run)))


def _require(name: str, known: Collection[str], kind: str) -> None:
    if name not in known:
        raise LookupError(f"There is no {kind} {name!r}. {did_you_mean(name, known)}")
