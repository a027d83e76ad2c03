"""The result of a run in Python: figures by name, tables and charts, data frames.

    result = lab.run("slow-service", quick=True)
    result                                              # in a notebook: tables and charts
    result["sync-chain"]["during"]["read_feed"].p50     # 306.2, in ms
    result.phase("during")["read_feed"].p50             # {"sync-chain": 306.2, "async-bus": 2.9}
    result.to_frame()                                   # a row per variant, phase and request
    result.to_csv("mine.csv")                           # the same as a file
    result.plot()                                       # its charts
    result.compare(lab.report("runs/…"))                # two runs side by side

The document is defined in `lab.results.result`; this module only displays it. Latencies are in
milliseconds from the *intended* send time, of good answers only; `success` is a share from 0 to 1.
What was not measured is None, never 0.
"""

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, PrivateAttr

from lab.api.display import NotebookDisplay, import_pandas
from lab.report.answer import Answer, build_answer
from lab.report.answer_rows import milliseconds
from lab.report.charts import Chart, ChartData, charts
from lab.report.html import notebook, page
from lab.report.sections import headline
from lab.report.terminal import compare, run
from lab.report.terminal.answer import render_answer
from lab.report.terminal.plots import print_plots
from lab.results import result as document
from lab.results.result import CheckerCounts, EndpointResult, VariantResult, VisibilityLatency
from lab.results.rows import figure_rows, to_csv
from lab.support.text import did_you_mean

# ── Figures by name


class NoSuchFigure(LookupError):
    """The result has no figure of this name; the message suggests a similar name."""

    def __str__(self) -> str:
        return str(self.args[0])


def _figure(description: str, value_of: Callable[[EndpointResult], Any]) -> property:
    def get(self: "EndpointView") -> Any:
        return self._values(value_of)

    return property(get, doc=description)


class EndpointView:
    """One kind of request in one phase. `single`: each figure is one value; otherwise a dict with
    a value per variant."""

    def __init__(self, endpoints: Mapping[str, EndpointResult], single: bool) -> None:
        self._endpoints, self._single = endpoints, single

    sent = _figure("How many were sent.", attrgetter("sent"))
    ok = _figure("How many succeeded.", attrgetter("ok"))
    failed = _figure("How many failed.", attrgetter("failed"))
    late = _figure("How many were sent later than planned, by more than 10 ms.", attrgetter("late"))
    dropped = _figure("How many could not be sent at all.", attrgetter("dropped"))
    success = _figure("ok / sent, from 0 to 1; None when none was sent.", attrgetter("success"))
    errors = _figure("Failures by kind: `{'timeout': 3}`.", attrgetter("errors"))
    p50 = _figure("Median latency of the good answers, ms.", attrgetter("latency_ms.p50"))
    p90 = _figure("90th percentile (nearest rank) of it, ms.", attrgetter("latency_ms.p90"))
    p95 = _figure("95th percentile of it, ms.", attrgetter("latency_ms.p95"))
    p99 = _figure("99th percentile of it, ms; of few, the slowest.", attrgetter("latency_ms.p99"))
    max = _figure("The slowest good answer, ms.", attrgetter("latency_ms.max"))
    mean = _figure("Mean latency of the good answers, ms.", attrgetter("latency_ms.mean"))
    failed_after_p50 = _figure(
        "Median time from the intended send time to a failure, ms.",
        attrgetter("failed_after_ms.p50"),
    )
    visible_p50 = _figure(
        "Writes: median time until the feed showed it, ms.",
        lambda endpoint: (endpoint.visible_ms or VisibilityLatency()).p50,
    )
    visible_p99 = _figure(
        "Writes: 99th percentile of that time, ms.",
        lambda endpoint: (endpoint.visible_ms or VisibilityLatency()).p99,
    )
    never_visible = _figure("Writes the feed never showed.", attrgetter("never_visible"))

    def _values(self, value_of: Callable[[EndpointResult], Any]) -> Any:
        values = {name: value_of(endpoint) for name, endpoint in self._endpoints.items()}
        return next(iter(values.values())) if self._single else values

    def __repr__(self) -> str:
        return f"<{_in_words(self._endpoints)}>"


class PhaseView(Mapping[str, EndpointView]):
    """One phase: its requests by kind, `read_feed`, `create_post`, `create_comment`."""

    def __init__(self, name: str, variants: Mapping[str, VariantResult], single: bool) -> None:
        self.name, self._variants, self._single = name, variants, single

    @property
    def seconds(self) -> float:
        """The length of the phase."""
        return next(iter(self._variants.values())).phases[self.name].seconds

    def __getitem__(self, endpoint: str) -> EndpointView:
        endpoints = {
            name: variant.phases[self.name].endpoints[endpoint]
            for name, variant in self._variants.items()
            if endpoint in variant.phases[self.name].endpoints
        }
        if not endpoints:
            raise NoSuchFigure(f"No {endpoint!r} was sent in it. {did_you_mean(endpoint, self)}")
        return EndpointView(endpoints, self._single)

    def __iter__(self) -> Iterator[str]:
        every = (variant.phases[self.name].endpoints for variant in self._variants.values())
        return iter(dict.fromkeys(name for endpoints in every for name in endpoints))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def __repr__(self) -> str:
        lines = [f"{kind}: {_in_words(self[kind]._endpoints)}" for kind in self]
        return f"<phase {self.name!r}, {self.seconds:g} s\n  " + "\n  ".join(lines) + ">"


def _in_words(endpoints: Mapping[str, EndpointResult]) -> str:
    """The figures of one kind of request, for each variant if there are several."""
    words = [
        (f"{name} " if len(endpoints) > 1 else "")
        + f"{of.ok} of {of.sent} ok, p50 {milliseconds(of.latency_ms.p50)}"
        for name, of in endpoints.items()
    ]
    return "; ".join(words)


class VariantView:
    """One variant of a result."""

    def __init__(self, variant: VariantResult) -> None:
        self.variant = variant
        self.name, self.arrangement = variant.name, variant.arrangement

    @property
    def data(self) -> CheckerCounts | None:
        """What became of the writes, as counts of writes; None when it could not be checked."""
        return self.variant.data

    @property
    def recovery_seconds(self) -> float | None:
        """Seconds from the end of the fault to good answers again; None when the variant was not
        affected, or did not recover while it was measured."""
        return self.variant.recovery_seconds

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of the phases, in order."""
        return tuple(self.variant.phases)

    def phase(self, name: str) -> PhaseView:
        """One phase by its name. Raises NoSuchFigure."""
        return find_phase(name, {self.name: self.variant}, single=True)

    def __getitem__(self, phase: str) -> PhaseView:
        """One phase by its name: `result["sync-chain"]["during"]`. Raises NoSuchFigure."""
        return self.phase(phase)

    def __iter__(self) -> Iterator[str]:
        return iter(self.phases)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.phases)

    def __repr__(self) -> str:
        return f"<{self.name}: {', '.join(self.phases)}>"


def find_phase(name: str, variants: Mapping[str, VariantResult], single: bool = False) -> PhaseView:
    """The phase `name` of the variants that have it. Raises NoSuchFigure."""
    matching = {key: variant for key, variant in variants.items() if name in variant.phases}
    if not matching:
        known = dict.fromkeys(phase for variant in variants.values() for phase in variant.phases)
        raise NoSuchFigure(f"There was no phase {name!r}. {did_you_mean(name, known)}")
    return PhaseView(name, matching, single)


# ── The result


class Result(NotebookDisplay, document.RunResult):
    """One run of one scenario, or several pooled. Latencies are in ms, shares from 0 to 1."""

    _folder: Path | None = PrivateAttr(default=None)

    @classmethod
    def load_run(cls, folder: str | Path) -> Self:
        """Load a saved run, by its folder or its `result.json`. Raises ResultError."""
        path = Path(folder).expanduser()
        result = cls.load_file(path / "result.json" if path.is_dir() else path)
        result._folder = path if path.is_dir() else path.parent
        return result

    @property
    def folder(self) -> Path | None:
        """The folder of the run, with its raw samples and logs; None when it is not known."""
        return self._folder

    def __dir__(self) -> list[str]:
        """The figures and methods of a result, without those of the library that reads it."""
        of_library = {*dir(BaseModel), "schema_"}
        return [name for name in super().__dir__() if name[0] == "_" or name not in of_library]

    def _ipython_key_completions_(self) -> list[str]:
        return [each.name for each in self.variants]

    def __getitem__(self, variant: str) -> VariantView:
        """One variant by its name: `result["sync-chain"]`. Raises NoSuchFigure."""
        found = self.variant(variant)
        if found is None:
            known = [each.name for each in self.variants]
            raise NoSuchFigure(f"There was no variant {variant!r}. {did_you_mean(variant, known)}")
        return VariantView(found)

    def phase(self, name: str) -> PhaseView:
        """One phase of all variants: `result.phase("during")["read_feed"].p99` is a dict with a
        figure (ms) per variant. Raises NoSuchFigure."""
        return find_phase(name, {variant.name: variant for variant in self.variants})

    def charts(self) -> list[Chart]:
        """All charts that have data; `.svg()` of a chart returns its drawing."""
        return charts(self, self._raw())

    def plot(self) -> "Plot":
        """The charts of this run: as drawings in a notebook, as text elsewhere."""
        return Plot(self, self._raw())

    def to_csv(self, path: str | Path) -> None:
        """Write a row per variant, phase and kind of request, as `lab run --csv` does. An empty
        field was not measured. Raises OSError."""
        Path(path).expanduser().write_text(to_csv([self]), encoding="utf-8")

    def to_frame(self, raw: bool = False) -> Any:
        """A pandas DataFrame with a row per variant, phase and kind of request; column names
        include units. `raw`: a row per request sent instead, from the run's samples.csv.

        Raises MissingExtra without pandas, FileNotFoundError when the raw samples were not saved.
        """
        pd = import_pandas("to_frame()")
        if not raw:
            return pd.DataFrame(figure_rows(self))
        sample_files = sorted(self._folder.rglob("samples.csv")) if self._folder else []
        if self._folder and (self._folder / "samples.csv") in sample_files:
            sample_files = [self._folder / "samples.csv"]
        if not sample_files:
            raise FileNotFoundError(
                f"No raw samples are kept with this result (folder: {self._folder}). "
                "Load the whole run: lab.report('runs/…')"
            )
        parts = [pd.read_csv(path).assign(run=path.parent.name) for path in sample_files]
        return pd.concat(parts, ignore_index=True)

    def compare(self, other: document.RunResult) -> "Comparison":
        """This run and another one side by side: what was the same, and what differs."""
        return Comparison(self, other)

    def save(self, path: str | Path) -> None:
        """Write the document (JSON) atomically, readable by its owner only. If the name ends in
        `.html`, write the report page instead. Raises OSError."""
        file = Path(path).expanduser()
        if file.suffix == ".html":
            file.write_text(page.render(self, self._raw()), encoding="utf-8")
        else:
            super().save(file)

    def _raw(self) -> ChartData:
        return ChartData.read(self, self._folder) if self._folder else ChartData()

    def _text(self) -> str:
        return notebook.as_text(lambda console: render_answer(self._answer(), console))

    def _html(self) -> str:
        tables = notebook.as_text(lambda console: run.render(self, console))
        return notebook.result_html(self, self._answer(), self.charts(), tables)

    def _answer(self) -> Answer:
        return build_answer(self, self._raw().samples)

    def __repr__(self) -> str:
        return f"<Result of {headline(self)}>"


class Plot(NotebookDisplay):
    """The charts of a run."""

    def __init__(self, result: document.RunResult, data: ChartData) -> None:
        self._result, self._data = result, data

    def _text(self) -> str:
        return notebook.as_text(lambda out: print_plots(self._result, self._data, out))

    def _html(self) -> str:
        return notebook.charts_html(charts(self._result, self._data))

    def __repr__(self) -> str:
        return f"<charts of {self._result.scenario}: print() draws them>"


class Comparison(NotebookDisplay):
    """Two runs side by side."""

    def __init__(self, first: document.RunResult, second: document.RunResult) -> None:
        self.first, self.second = first, second

    def _text(self) -> str:
        return notebook.as_text(lambda out: compare.render(self.first, self.second, out))

    def __repr__(self) -> str:
        seeds = f"seed {self.first.seed} and seed {self.second.seed}"
        return f"<{self.first.scenario}: {seeds}>"
