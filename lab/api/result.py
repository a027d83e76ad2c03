"""The result of a run in Python: figures by name, tables and charts, data frames.

    result = lab.run("slow-service", quick=True)
    result                                              # in a notebook: tables and charts
    result["sync-chain"].phase("during")["read_feed"].p50        # 306.2, in ms
    result.phase("during")["read_feed"].p50             # {"sync-chain": 306.2, "async-bus": 2.9}
    result.to_frame()                                   # a row per variant, phase and request
    result.compare(lab.report("runs/…"))                # two runs side by side

The document is defined in `lab.results.result`; this module only displays it. Latencies are in
milliseconds from the *intended* send time, of good answers only; `success` is a share from 0 to 1.
What was not measured is None, never 0.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr

from lab.api.display import Shown, pandas
from lab.report.charts import Chart, Raw, charts
from lab.report.html import notebook, page
from lab.report.terminal import compare, run
from lab.report.terminal.progress import headline
from lab.results import result as document
from lab.results.result import Data, Endpoint, Variant, Visible
from lab.support.text import did_you_mean

# ── Figures by name


class NoSuchFigure(LookupError):
    """The result has no figure of this name; the message suggests a similar name."""

    def __str__(self) -> str:
        return str(self.args[0])


def _figure(says: str, of: Callable[[Endpoint], Any]) -> property:
    def get(self: "Requests") -> Any:
        return self._each(of)

    return property(get, doc=says)


class Requests:
    """One kind of request in one phase. `one`: each figure is one value; otherwise a dict with a
    value per variant."""

    def __init__(self, endpoints: Mapping[str, Endpoint], one: bool) -> None:
        self._endpoints, self._one = endpoints, one

    sent = _figure("How many were sent.", lambda of: of.sent)
    ok = _figure("How many of them were answered well.", lambda of: of.ok)
    failed = _figure("How many of them were not.", lambda of: of.failed)
    late = _figure("How many left more than they may after they were due.", lambda of: of.late)
    dropped = _figure("How many could not be sent at all.", lambda of: of.dropped)
    success = _figure("ok / sent, from 0 to 1; None when none was sent.", lambda of: of.success)
    errors = _figure("By kind of failure, how many: `{'timeout': 3}`.", lambda of: of.errors)
    p50 = _figure("Median latency of the good answers, ms.", lambda of: of.latency_ms.p50)
    p90 = _figure("90th percentile (nearest rank) of it, ms.", lambda of: of.latency_ms.p90)
    p95 = _figure("95th percentile of it, ms.", lambda of: of.latency_ms.p95)
    p99 = _figure(
        "99th percentile of it, ms; of few it is the slowest.", lambda of: of.latency_ms.p99
    )
    max = _figure("The slowest good answer, ms.", lambda of: of.latency_ms.max)
    mean = _figure("Mean latency of the good answers, ms.", lambda of: of.latency_ms.mean)
    failed_after_p50 = _figure(
        "Median time from due to failure, ms.", lambda of: of.failed_after_ms.p50
    )
    visible_p50 = _figure(
        "Writes: median time until the feed showed it, ms.",
        lambda of: (of.visible_ms or Visible()).p50,
    )
    visible_p99 = _figure(
        "Writes: 99th percentile of that time, ms.", lambda of: (of.visible_ms or Visible()).p99
    )
    never_visible = _figure("Writes the feed never showed.", lambda of: of.never_visible)

    def _each(self, of: Callable[[Endpoint], Any]) -> Any:
        values = {name: of(endpoint) for name, endpoint in self._endpoints.items()}
        return next(iter(values.values())) if self._one else values

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)}" for name in ("success", "p50", "p99"))
        return f"<{shown}; latencies in ms>"


class PhaseOf(Mapping[str, Requests]):
    """One phase: its requests by kind, `read_feed`, `create_post`, `create_comment`."""

    def __init__(self, name: str, variants: Mapping[str, Variant], one: bool) -> None:
        self.name, self._variants, self._one = name, variants, one

    @property
    def seconds(self) -> float:
        """The length of the phase."""
        return next(iter(self._variants.values())).phases[self.name].seconds

    def __getitem__(self, endpoint: str) -> Requests:
        found = {
            name: of.phases[self.name].endpoints[endpoint]
            for name, of in self._variants.items()
            if endpoint in of.phases[self.name].endpoints
        }
        if not found:
            raise NoSuchFigure(f"No {endpoint!r} was sent in it. {did_you_mean(endpoint, self)}")
        return Requests(found, self._one)

    def __iter__(self) -> Iterator[str]:
        every = (of.phases[self.name].endpoints for of in self._variants.values())
        return iter(dict.fromkeys(name for endpoints in every for name in endpoints))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"<phase {self.name!r}: {', '.join(self)}>"


class Side:
    """One variant of a result."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.name, self.arrangement = variant.name, variant.arrangement

    @property
    def data(self) -> Data | None:
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

    def phase(self, name: str) -> PhaseOf:
        """One phase by its name. Raises NoSuchFigure."""
        return phase_of(name, {self.name: self.variant}, one=True)

    def __repr__(self) -> str:
        return f"<{self.name}: {', '.join(self.phases)}>"


def phase_of(name: str, variants: Mapping[str, Variant], one: bool = False) -> PhaseOf:
    """The phase `name` of the variants that have it. Raises NoSuchFigure."""
    found = {key: of for key, of in variants.items() if name in of.phases}
    if not found:
        known = dict.fromkeys(phase for of in variants.values() for phase in of.phases)
        raise NoSuchFigure(f"There was no phase {name!r}. {did_you_mean(name, known)}")
    return PhaseOf(name, found, one)


# ── The result


class Result(Shown, document.Result):
    """One run of one scenario, or several pooled. Latencies are in ms, shares from 0 to 1."""

    _folder: Path | None = PrivateAttr(default=None)

    @classmethod
    def kept_in(cls, folder: str | Path) -> Self:
        """Load a saved run, by its folder or its `result.json`. Raises ResultError."""
        place = Path(folder).expanduser()
        result = cls.load_file(place / "result.json" if place.is_dir() else place)
        result._folder = place if place.is_dir() else place.parent
        return result

    @property
    def folder(self) -> Path | None:
        """The folder of the run, with its raw samples and logs; None when it is not known."""
        return self._folder

    def __getitem__(self, variant: str) -> Side:
        """One variant by its name: `result["sync-chain"]`. Raises NoSuchFigure."""
        found = self.variant(variant)
        if found is None:
            known = [one.name for one in self.variants]
            raise NoSuchFigure(f"There was no variant {variant!r}. {did_you_mean(variant, known)}")
        return Side(found)

    def phase(self, name: str) -> PhaseOf:
        """One phase of all variants: `result.phase("during")["read_feed"].p99` is a dict with a
        figure (ms) per variant. Raises NoSuchFigure."""
        return phase_of(name, {one.name: one for one in self.variants})

    def charts(self) -> list[Chart]:
        """All charts that have data; `.svg()` of a chart returns its drawing."""
        return charts(self, self._raw())

    def to_frame(self, raw: bool = False) -> Any:
        """A pandas DataFrame with a row per variant, phase and kind of request; column names
        include units. `raw`: a row per request sent instead, from the run's samples.csv.

        Raises MissingExtra without pandas, FileNotFoundError when the raw samples were not saved.
        """
        frames = pandas("to_frame()")
        if not raw:
            return frames.DataFrame(self._rows())
        found = sorted(self._folder.rglob("samples.csv")) if self._folder else []
        if self._folder and (self._folder / "samples.csv") in found:
            found = [self._folder / "samples.csv"]
        if not found:
            raise FileNotFoundError(
                f"No raw samples are kept with this result (folder: {self._folder}). "
                "Load the whole run: lab.report('runs/…')"
            )
        parts = [frames.read_csv(path).assign(run=path.parent.name) for path in found]
        return frames.concat(parts, ignore_index=True)

    def compare(self, other: document.Result) -> "Comparison":
        """This run and another one side by side: what was the same, and what differs."""
        return Comparison(self, other)

    def save(self, path: str | Path) -> None:
        """Write the document (JSON) atomically, readable by its owner only. If the name ends in
        `.html`, write the report page instead. Raises OSError."""
        place = Path(path).expanduser()
        if place.suffix == ".html":
            place.write_text(page.page(self, self._raw()), encoding="utf-8")
        else:
            super().save(place)

    def _raw(self) -> Raw:
        return Raw.of(self, self._folder) if self._folder else Raw()

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"variant": one.name, "phase": phase, "request": kind, **_row(of, figures.seconds)}
            for one in self.variants
            for phase, figures in one.phases.items()
            for kind, of in figures.endpoints.items()
        ]

    def _text(self) -> str:
        return notebook.as_text(lambda console: run.render(self, console))

    def _html(self) -> str:
        return notebook.of_result(self, self.charts(), self._text())

    def __repr__(self) -> str:
        return f"<Result of {headline(self)}>"


class Comparison(Shown):
    """Two runs side by side."""

    def __init__(self, one: document.Result, other: document.Result) -> None:
        self.one, self.other = one, other

    def _text(self) -> str:
        return notebook.as_text(lambda out: compare.render(self.one, self.other, out))

    def __repr__(self) -> str:
        return f"<{self.one.scenario}, seed {self.one.seed}, beside seed {self.other.seed}>"


def _row(of: document.Endpoint, seconds: float) -> Mapping[str, Any]:
    seen = of.visible_ms or document.Visible()
    return {
        "seconds": seconds,
        **{name: getattr(of, name) for name in ("sent", "ok", "failed", "late", "dropped")},
        "success": of.success,
        **{f"{name}_ms": value for name, value in of.latency_ms.model_dump().items()},
        "failed_after_p50_ms": of.failed_after_ms.p50,
        "visible_p50_ms": seen.p50,
        "visible_p99_ms": seen.p99,
        "visible_max_ms": seen.max,
        "never_visible": of.never_visible if of.visible_ms else None,
    }
