"""A run's result as Python has it: figures by name, tables and charts in a notebook, data frames.

    result = lab.run("slow-service", quick=True)
    result                                              # in a notebook: tables and charts
    result["sync-chain"].phase("during")["read_feed"].p50        # 306.2, in ms
    result.phase("during")["read_feed"].p50                      # of every variant, by name
    result.to_frame()                                   # a row for each variant, phase, request
    result.compare(lab.report("runs/…"))                # two runs beside each other

The document is `lab.scenarios.result`'s; what is added here only shows it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr

from lab.api.extras import pandas
from lab.api.figures import NoSuchFigure, PhaseOf, Side, phase_of
from lab.api.shown import Shown
from lab.meant import did_you_mean
from lab.report import compare, fragment, page, tables
from lab.report.charts import Chart, Raw, charts
from lab.report.progress import headline
from lab.scenarios import result as document


class Result(Shown, document.Result):
    """One run of one scenario, or several together. Latencies are ms, shares from 0 to 1."""

    _folder: Path | None = PrivateAttr(default=None)

    @classmethod
    def kept_in(cls, folder: str | Path) -> Self:
        """A kept run, by its folder or its `result.json`. Raises ResultError, in a sentence."""
        place = Path(folder).expanduser()
        result = cls.load_file(place / "result.json" if place.is_dir() else place)
        result._folder = place if place.is_dir() else place.parent
        return result

    @property
    def folder(self) -> Path | None:
        """Where the run is kept, with its raw samples and logs; None where that is not known."""
        return self._folder

    def __getitem__(self, variant: str) -> Side:
        """One variant by its name: `result["sync-chain"]`. Raises NoSuchFigure."""
        found = self.variant(variant)
        if found is None:
            known = [one.name for one in self.variants]
            raise NoSuchFigure(f"There was no variant {variant!r}. {did_you_mean(variant, known)}")
        return Side(found)

    def phase(self, name: str) -> PhaseOf:
        """One phase, of all variants: `result.phase("during")["read_feed"].p99` is a figure (ms)
        for each of them, by name. Raises NoSuchFigure."""
        return phase_of(name, {one.name: one for one in self.variants})

    def charts(self) -> list[Chart]:
        """All charts that have something to show; `.svg()` of one is the drawing."""
        return charts(self, self._raw())

    def to_frame(self, raw: bool = False) -> Any:
        """A pandas DataFrame with a row for each variant, phase and kind of request; units are in
        the columns' names. `raw`: a row for each request sent instead, from the run's samples.csv.

        Raises MissingExtra without pandas, FileNotFoundError where raw samples are not kept.
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
        """This run and another one side by side: what was the same, what came out otherwise."""
        return Comparison(self, other)

    def save(self, path: str | Path) -> None:
        """Write the document (JSON), for its owner's eyes only, whole or not at all; where the name
        ends in `.html`, the run's page instead. Raises OSError."""
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
        return fragment.as_text(lambda console: tables.render(self, console))

    def _html(self) -> str:
        return fragment.of_result(self, self.charts(), self._text())

    def __repr__(self) -> str:
        return f"<Result of {headline(self)}>"


class Comparison(Shown):
    """Two runs, A and B, set beside each other."""

    def __init__(self, one: document.Result, other: document.Result) -> None:
        self.one, self.other = one, other

    def _text(self) -> str:
        return fragment.as_text(lambda out: compare.render(self.one, self.other, out))

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
