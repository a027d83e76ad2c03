"""The rows of an answer: the questions that a run answers, each variant's figure, the better one.

`better` names a variant only where the difference is one: for success, where Newcombe's interval of
the two shares excludes 0; for latency, where the interval of the ratio of the medians lies beyond
the noise floor. `same` means that a larger difference is excluded; `unclear` that so few requests
cannot tell; `both fail` that no variant does it. A cell without a measurement shows `–`. All rows
of an answer share one confidence of 95 % (Bonferroni).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import NormalDist

from lab.experiment.shares import share_difference
from lab.faults.kinds import KINDS
from lab.report import formatting
from lab.results.expressions import evaluate_figure
from lab.results.paths import phase_key, unproved_reason
from lab.results.result import (
    ASSUMED_NOISE,
    ENDPOINTS,
    FOLLOW_UPS,
    NEVER,
    SUCCESS_THRESHOLD,
    SURGE,
    AnswerLine,
    CheckerCounts,
    Difference,
    EndpointResult,
    RunResult,
    VariantResult,
)

CONFIDENCE = 0.95
SAME, UNCLEAR, UNKNOWN = "same", "unclear", "–"
CALM = "Without a fault"
"""The title of the rows of calm phases, and of a run in which nothing is broken."""
STILL_FAILING = 0.9
"""Below this share, requests still fail after the fault: more than the first ones."""
CALM_PHASES = ("before", "after", "recovering")
MATRIX_MIN_FAULTS = 3
"""From this many faults one after another, the answer is a matrix of fault and request."""
GOOD_SHARE = 0.995
"""Below this share of successful requests, a row shows success before latency."""

ACTIONS = {
    "read_feed": "read the feed",
    "create_post": "write a post",
    "create_comment": "write a comment",
    "comment_at_once": "comment at once",
    "look_at_once": "see it at once",
}


@dataclass(frozen=True)
class AnswerCell:
    """The figure of one variant. `value`: what is compared, None if nothing was measured. `short`:
    the figure alone, for a narrow column."""

    text: str
    value: float | None = None
    bad: bool = False
    short: str = ""


@dataclass(frozen=True)
class AnswerRow:
    """One question: a cell for each variant, and which variant is better.

    `best` and `worst`: indexes of the variants; empty where there is no difference to show.
    `losing`: the variants that are worse than some other one. `alone`: the label where the row
    above may be missing.
    """

    label: str
    unit: str
    cells: tuple[AnswerCell, ...]
    better: str = ""
    best: frozenset[int] = frozenset()
    worst: frozenset[int] = frozenset()
    losing: frozenset[int] = frozenset()
    alone: str = ""


@dataclass(frozen=True)
class AnswerSection:
    title: str
    rows: tuple[AnswerRow, ...]

    @property
    def is_phase(self) -> bool:
        """Whether the title says when the figures are measured."""
        return self.title == CALM or self.title.startswith("While ")


@dataclass(frozen=True)
class AnswerMatrix:
    """Faults one after another: for each fault, the success of each kind of request.

    `lines`: a fault in words, and a row for each of `requests`.
    """

    requests: tuple[str, ...]
    lines: tuple[tuple[str, tuple[AnswerRow, ...]], ...]


# ── Figures as text

_SHARES = ("success", "stale", "decided")
_MS_ENDINGS = ("p50", "p90", "p95", "p99", "max", "mean")


def with_unit(path: str, value: float) -> str:
    """A figure as text, with the unit that its path implies."""
    last = path.rsplit(".", 1)[-1].strip()
    if last in _SHARES:
        return formatting.success(value)
    if last.rsplit("_", 1)[-1] in _MS_ENDINGS and "lag" not in path.split("."):
        return milliseconds(value)
    if last.endswith("seconds"):
        return formatting.seconds(value)
    return f"{value:.0f}" if float(value).is_integer() or value >= 100 else f"{value:.1f}"


def milliseconds(value: float | None) -> str:
    """A latency with its unit: `2.2 ms`, `312 ms`, from ten seconds on `12 s`; or `never`."""
    if value is None or math.isinf(value):
        return formatting.NONE if value is None else NEVER
    return f"{formatting.ms(value)} ms" if value < 9_999.5 else f"{value / 1_000:.0f} s"


def state_of(kind: str, target: str) -> str:
    """What a fault does to its target: "`comments` is down"."""
    return f"`{target}` {KINDS[kind].state if kind in KINDS else kind}"


# ── Rows


_DATA_ROWS: tuple[tuple[str, Callable[[CheckerCounts], int | None]], ...] = (
    ("missing for readers", lambda of: of.missing),
    ("not yet seen by readers", lambda of: of.unsettled if of.missing is None else 0),
    ("services disagree", lambda of: of.diverged),
    ("out of order", lambda of: of.out_of_order),
    ("refused, but kept", lambda of: of.refused_kept),
    ("judged without a comment", lambda of: of.orphaned),
    ("with another text", lambda of: of.altered),
    ("under another post", lambda of: of.misplaced),
    ("with the wrong verdict", lambda of: of.misjudged),
    ("written by no one", lambda of: of.phantoms),
    ("shown wrongly meanwhile", lambda of: of.misshown),
    ("verdict came and went", lambda of: of.flickered),
    ("gone for one reader", lambda of: of.unmonotonic),
)
"""Counts that should be 0; a row that is 0 for every variant is left out."""


class RowBuilder:
    """Chooses and compares the rows of a result."""

    def __init__(self, result: RunResult) -> None:
        self.result = result
        self.footnotes: list[str] = []
        self._variants = result.variants
        self._floor = result.noise_floor.share if result.noise_floor is not None else ASSUMED_NOISE
        self._phases = [name for name in self._phase_names() if name not in CALM_PHASES]
        endpoints = [*ENDPOINTS, *FOLLOW_UPS]
        self._endpoints = [
            one
            for one in endpoints
            if any(
                self._of(variant, phase, one)
                for variant in self._variants
                for phase in self._phases
            )
        ]
        self._comparisons = max(1, len(self._phases) * len(self._endpoints))

    def _phase_names(self) -> list[str]:
        return list(self._variants[0].phases) if self._variants else []

    @staticmethod
    def _of(variant: VariantResult, phase: str, endpoint: str) -> EndpointResult | None:
        phases = variant.phases.get(phase)
        found = phases.endpoints.get(endpoint) if phases is not None else None
        return found if found is not None and found.sent else None

    def matrix(self) -> AnswerMatrix | None:
        """The answer of a sequence of many faults; None for any other run."""
        if len(self._phases) < MATRIX_MIN_FAULTS:
            return None
        return AnswerMatrix(
            tuple(ACTIONS.get(one, one) for one in self._endpoints),
            tuple((self._fault(phase), tuple(self._matrix_rows(phase))) for phase in self._phases),
        )

    def _matrix_rows(self, phase: str) -> Iterator[AnswerRow]:
        for endpoint in self._endpoints:
            yield self._success_row(
                phase, endpoint, [self._of(one, phase, endpoint) for one in self._variants]
            )

    def sections(self) -> Iterator[AnswerSection]:
        sequence = self._phases != ["during"]
        for phase in self._phases if len(self._phases) < MATRIX_MIN_FAULTS else ():
            rows = list(self._phase_rows(phase))
            if sequence:
                rows = [one for one in rows if one.best or any(cell.bad for cell in one.cells)]
            yield AnswerSection(self._phase_title(phase), tuple(rows))
        if self.result.timeline.windows:  # else `during` has none either
            yield AnswerSection(CALM, tuple(self._calm_rows()))
        yield AnswerSection("Costs", tuple(self._price_rows()))
        yield AnswerSection("Afterwards", tuple(self._after_rows()))

    def _phase_title(self, phase: str) -> str:
        if phase == "during":
            windows = self.result.timeline.windows
            states = dict.fromkeys(
                state_of(one.kind, one.target) for one in windows if one.kind != SURGE
            )
            if states:
                return f"While {' and '.join(list(states)[:2])}"
            return "While more requests arrive" if windows else CALM
        return f"While {self._fault(phase)}"

    @staticmethod
    def _fault(phase: str) -> str:
        """The fault of a phase of a sequence, in words."""
        target, _, kind = phase.rpartition(" ")
        return state_of(kind, target)

    def _phase_rows(self, phase: str) -> Iterator[AnswerRow]:
        failures: list[tuple[int, int]] = [(0, 0)] * len(self._variants)
        shown_success = False
        for endpoint in self._endpoints:
            found = [self._of(one, phase, endpoint) for one in self._variants]
            failures = [
                (failed + (of.failed if of else 0), sent + (of.sent if of else 0))
                for (failed, sent), of in zip(failures, found, strict=True)
            ]
            if any(_is_below(of, GOOD_SHARE) for of in found):
                row = self._success_row(phase, endpoint, found)
                shown_success = True
            else:
                row = self._latency_row(phase, endpoint, found)
            yield row
            if endpoint != "read_feed" and any(of and of.visible_ms for of in found):
                visible = self._visible_row(phase, endpoint, found)
                if visible is not None:
                    yield visible
        if not shown_success and any(failed for failed, _ in failures):
            cells = tuple(
                AnswerCell(f"{failed} of {sent}", failed / sent if sent else None)
                for failed, sent in failures
            )
            yield AnswerRow("requests that failed", "", cells)

    def _success_row(
        self, phase: str, endpoint: str, found: Sequence[EndpointResult | None]
    ) -> AnswerRow:
        path = f"{phase_key(phase)}.{endpoint}.success"
        cells = []
        for index, of in enumerate(found):
            if of is None:
                cells.append(AnswerCell(UNKNOWN))
                continue
            share = of.success
            if share is None:
                cells.append(AnswerCell(UNKNOWN))
                continue
            text = short = formatting.success(share)
            if of.ok:
                text += f"  {milliseconds(of.latency_ms.p50)}"
            elif kind := max(of.errors, key=lambda one: of.errors[one], default=""):
                text += f"  {kind.removeprefix('http_')}"
                if of.failed_after_ms.p50 is not None:
                    text += f" in {milliseconds(of.failed_after_ms.p50)}"
            bad = max(self._hits(index, path, of)) < SUCCESS_THRESHOLD * of.sent
            cells.append(AnswerCell(text, share, bad, short))

        def compare(first: int, second: int) -> float | None:
            one, other = found[first], found[second]
            if not one or not other or one.success is None or other.success is None:
                return None
            ends = [
                share_difference(hits, one.sent, other_hits, other.sent, self._confidence())
                for hits in self._hits(first, path, one)
                for other_hits in self._hits(second, path, other)
            ]
            low, high = min(low for low, _ in ends), max(high for _, high in ends)
            if low > 0 or high < 0:
                return 1.0 if low > 0 else -1.0
            return 0.0 if max(abs(low), abs(high)) <= self._floor else None

        return self._judged(
            ACTIONS.get(endpoint, endpoint), "ok", cells, self._if_proved(path, compare)
        )

    def _if_proved(
        self, path: str, compare: Callable[[int, int], float | None]
    ) -> Callable[[int, int], float | None]:
        """The comparison of a figure, without the variants in which it was not measured. A `*` in
        place of the phase stands for all phases."""
        keys = map(phase_key, self._phase_names()) if path.startswith("*") else [""]
        paths = [path.replace("*", key) for key in keys]
        doubtful = {
            index
            for index, variant in enumerate(self._variants)
            if any(unproved_reason(f"{variant.name}.{one}", self.result) for one in paths)
        }
        return lambda one, other: None if doubtful & {one, other} else compare(one, other)

    def _hits(self, index: int, path: str, of: EndpointResult) -> set[int]:
        """The fewest and the most successful requests; both are equal if none was late."""
        low, high = self._variants[index].bounds.get(path) or (of.success or 0.0, of.success)
        return {round((of.success or 0.0 if end is None else end) * of.sent) for end in (low, high)}

    def _latency_row(
        self, phase: str, endpoint: str, found: Sequence[EndpointResult | None]
    ) -> AnswerRow:
        cells = [
            AnswerCell(milliseconds(of.latency_ms.p50), of.latency_ms.p50)
            if of is not None
            else AnswerCell(UNKNOWN)
            for of in found
        ]
        return self._judged(
            ACTIONS.get(endpoint, endpoint),
            "p50",
            cells,
            self._if_proved(
                f"{phase_key(phase)}.{endpoint}.p50",
                lambda first, second: self._ratio(phase, endpoint, "latency", first, second),
            ),
            ratio=True,
        )

    def _visible_row(
        self, phase: str, endpoint: str, found: Sequence[EndpointResult | None]
    ) -> AnswerRow | None:
        if not any(of is not None and of.ok for of in found):
            return None
        cells = [_visible_cell(of) for of in found]
        if all(cell.value is None and not cell.bad for cell in cells):
            return None

        def compare(first: int, second: int) -> float | None:
            if cells[first].bad == cells[second].bad:
                return self._ratio(phase, endpoint, "visible", first, second)
            (seen, sent), (other_seen, other_sent) = map(_seen, (found[first], found[second]))
            low, high = share_difference(seen, sent, other_seen, other_sent, self._confidence())
            return None if low <= 0 <= high else 1.0 if low > 0 else -1.0

        path = f"{phase_key(phase)}.{endpoint}.visible_p50"
        row = self._judged(
            "  … until readers see it", "", cells, self._if_proved(path, compare), ratio=True
        )
        return replace(row, alone=f"{ACTIONS.get(endpoint, endpoint)}: until seen")

    def _ratio(
        self, phase: str, endpoint: str, figure: str, first: int, second: int
    ) -> float | None:
        """Positive: the second variant is better (shorter); 0: the same; None: not known."""
        names = self._variants[first].name, self._variants[second].name
        for one in self.result.differences:
            if (one.phase, one.endpoint, one.figure) != (phase, endpoint, figure):
                continue
            if (one.against, one.variant) == names:
                return self._sign(one)
            if (one.variant, one.against) == names:
                sign = self._sign(one)
                return None if sign is None else -sign
        return None

    def _sign(self, difference: Difference) -> float | None:
        limit = 1 + self._floor
        if difference.reason:
            return None
        if difference.verdict == "faster":
            return 1.0
        if difference.verdict == "slower":
            return -1.0
        return 0.0 if difference.high <= limit and difference.low >= 1 / limit else None

    def _confidence(self) -> float:
        return 1 - (1 - CONFIDENCE) / self._comparisons

    def _judged(
        self,
        label: str,
        unit: str,
        cells: Sequence[AnswerCell],
        compare: Callable[[int, int], float | None],
        ratio: bool = False,
    ) -> AnswerRow:
        """The row with its verdict: the best variants, the worst ones, and the words for them."""
        known = [index for index, cell in enumerate(cells) if cell.value is not None or cell.bad]
        if len(known) < 2:
            return AnswerRow(label, unit, tuple(cells), UNCLEAR if len(cells) > 1 else "")
        signs = {
            (one, other): compare(one, other) for one in known for other in known if one < other
        }
        wins = {
            index: sum(
                (sign > 0 and other == index) or (sign < 0 and one == index)
                for (one, other), sign in signs.items()
                if sign is not None
            )
            for index in known
        }
        losses = {
            index: sum(
                (sign > 0 and one == index) or (sign < 0 and other == index)
                for (one, other), sign in signs.items()
                if sign is not None
            )
            for index in known
        }
        best = frozenset(index for index in known if wins[index] and not losses[index])
        losing = frozenset(index for index in known if losses[index])
        best |= frozenset(self._as_good(cells, best, losing))
        worst = frozenset(index for index in known if losses[index] and not wins[index])
        if best:
            words = self._names(best)
            if ratio and len(known) == 2 and all(cells[index].value for index in known):
                values = sorted(cells[index].value or 0.0 for index in known)
                words += f" {times(values[1] / values[0])}"
        elif all(_fails(cells[index]) for index in known):
            words = "both fail" if len(known) == 2 else "all fail"
        else:
            words = UNCLEAR if any(sign is None for sign in signs.values()) else SAME
        return AnswerRow(label, unit, tuple(cells), words, best, worst, losing)

    @staticmethod
    def _as_good(
        cells: Sequence[AnswerCell], best: frozenset[int], losing: frozenset[int]
    ) -> Iterator[int]:
        """The variants that lose to no other, with a figure as good as that of one of the best: of
        two figures, the worse one must not be the only one that is marked."""
        values = [cell.value for cell in cells]
        for index, mark, limit in product(set(range(len(cells))) - losing, best, losing):
            one, best_one, beaten = values[index], values[mark], values[limit]
            if one is None or best_one is None or beaten is None or best_one == beaten:
                continue
            if (one <= best_one) if best_one < beaten else (one >= best_one):
                yield index

    def _names(self, indexes: Iterable[int]) -> str:
        names = [variant.name for variant in self._variants]
        return ", ".join(short_name(names[index], names) for index in sorted(indexes))

    def _price_rows(self) -> Iterator[AnswerRow]:
        yield from self._unknown_post_row()
        yield from self._named_rows()
        lags = [
            max((one.max for one in variant.lag.values()), default=None)
            for variant in self._variants
        ]
        if any(lags):
            cells = []
            for variant, most in zip(self._variants, lags, strict=True):
                if most is None:
                    cells.append(AnswerCell(UNKNOWN))
                    continue
                drained = [
                    one.drained_seconds for one in variant.lag.values() if one.drained_seconds
                ]
                text = f"{most}" + (f", gone in {max(drained):.1f} s" if drained else "")
                cells.append(AnswerCell(text, float(most), short=str(most)))
            yield AnswerRow("events waiting at most", "", tuple(cells))
        stale = [_stale(variant) for variant in self._variants]
        if any(count for count, _ in stale):
            cells = _share_cells(stale)
            yield self._share_row("feeds out of date", "*.read_feed.stale", cells, stale)

    def _named_rows(self) -> Iterator[AnswerRow]:
        """The rows that the scenario names."""
        for spec in self.result.answer.rows:
            yield self._figure_row(spec.label, spec.figure, spec.good)

    def line_row(self, line: AnswerLine) -> AnswerRow:
        """The row of a line at the top: compared as in the table, if the figure has a row there."""
        phase, _, figure = line.figure.partition(".")
        endpoint, _, last = figure.partition(".")
        names = {phase_key(name): name for name in self._phase_names()}
        phases = [names[phase]] if phase in names else []
        if phase == "*":
            phases = self._phases if last == "success" else list(names.values())
        found = [
            [of for name in phases if (of := self._of(variant, name, endpoint))]
            for variant in self._variants
        ]
        if last in _SHARES and phase == "*":
            counts = [_added_up(last, each) for each in found]
            return self._share_row(line.says, line.figure, _share_cells(counts), counts, line.good)
        alone = [each[0] if each else None for each in found]
        if last == "success" and any(found):
            return self._success_row(names[phase], endpoint, alone)
        if last == "p50" and any(found):
            return self._latency_row(names[phase], endpoint, alone)
        if last.startswith("visible") and last.endswith("p50"):
            row = self._visible_row(names[phase], endpoint, alone) if any(found) else None
            return row or AnswerRow(line.says, "", tuple(AnswerCell(UNKNOWN) for _ in found))
        return self._figure_row(line.says, line.figure, line.good)

    def _figure_row(self, label: str, figure: str, good: str) -> AnswerRow:
        values = [self._lookup(variant, figure) for variant in self._variants]
        cells = [
            AnswerCell(UNKNOWN) if value is None else AnswerCell(with_unit(figure, value), value)
            for value in values
        ]
        margin = self._margin(figure)
        sign = 1.0 if good == "low" else -1.0

        def compare(first: int, second: int) -> float | None:
            one, other = values[first], values[second]
            if one is None or other is None:
                return None
            if margin is None and not self._is_expected(figure, first, second):
                return None
            if margin is not None and abs(one - other) <= margin(one, other):
                return 0.0
            return sign if one > other else -sign

        return self._judged(label, "", cells, self._if_proved(figure, compare))

    def _is_expected(self, figure: str, first: int, second: int) -> bool:
        """Whether an expectation that holds compares two single readings, which have no interval,
        and they differ by more than the noise."""
        paths = [f"{self._variants[index].name}.{figure}" for index in (first, second)]
        for one in self.result.expectations:
            low, high = sorted(one.values.get(path) or 0.0 for path in paths)
            if one.verdict == "holds" and 0 < low * (1 + self._floor) < high:
                return True
        return False

    def _margin(self, figure: str) -> Callable[[float, float], float] | None:
        """The difference of two figures up to which they count as the same.

        Parts of the design are facts, and so is a write that went wrong against none. Two readings
        of memory differ by noise. Two counts of requests or events differ where they cannot be two
        draws of one Poisson process. None: one reading cannot be compared.
        """
        kind, last = figure.split(".")[0], figure.rsplit(".", 1)[-1]
        if kind in ("web", "databases", "processes"):
            return lambda one, other: 0.0
        if kind == "memory_mib":
            return lambda one, other: self._floor * max(one, other)
        if last in _SHARES or with_unit(figure, 1.0) != "1":
            return None
        z = NormalDist().inv_cdf((1 + self._confidence()) / 2)
        is_fault = kind in ("data", "dead_letters")  # each of which should be 0
        return lambda one, other: (
            0.0 if is_fault and not min(one, other) else z * math.sqrt(one + other)
        )

    def _lookup(self, variant: VariantResult, figure: str) -> float | None:
        try:
            return evaluate_figure(f"{variant.name}.{figure}", self.result)
        except ValueError:
            return None

    def _unknown_post_row(self) -> Iterator[AnswerRow]:
        """Comments refused because the service had not consumed the post yet."""
        counts = []
        for variant in self._variants:
            found = [
                of
                for phase in variant.phases.values()
                for name, of in phase.endpoints.items()
                if name in ("create_comment", "comment_at_once") and of.sent
            ]
            refused = sum(of.errors.get("http_404", 0) for of in found)
            counts.append((refused, sum(of.sent for of in found)))
        if any(refused for refused, _ in counts):
            path = "*.create_comment.errors.http_404"
            yield self._share_row("404: post not known yet", path, _share_cells(counts), counts)

    def _share_row(
        self,
        label: str,
        path: str,
        cells: Sequence[AnswerCell],
        counts: Sequence[tuple[int, int]],
        good: str = "low",
    ) -> AnswerRow:
        sign = 1.0 if good == "low" else -1.0

        def compare(first: int, second: int) -> float | None:
            (hits, total), (other_hits, other_total) = counts[first], counts[second]
            if not total or not other_total:
                return None
            low, high = share_difference(hits, total, other_hits, other_total, self._confidence())
            if low > 0 or high < 0:
                return -sign if low > 0 else sign
            return 0.0 if max(abs(low), abs(high)) <= self._floor else None

        return self._judged(label, "", cells, self._if_proved(path, compare))

    def _calm_rows(self) -> Iterator[AnswerRow]:
        """Before the fault: only rows in which the variants differ."""
        if "before" not in self._phase_names() or self._phases == []:
            return
        for endpoint in self._endpoints:
            found = [self._of(one, "before", endpoint) for one in self._variants]
            if any(found):
                row = self._latency_row("before", endpoint, found)
                if row.best:
                    yield row
                visible = endpoint != "read_feed" and self._visible_row("before", endpoint, found)
                if visible and visible.best:
                    yield visible if row.best else replace(visible, label=visible.alone)

    def _after_rows(self) -> Iterator[AnswerRow]:
        if any(one.faults or one.recovery_seconds is not None for one in self._variants):
            cells = [_recovery_cell(one) for one in self._variants]
            yield AnswerRow("working again after", "", tuple(cells))
            yield from self._failing_rows_after()
        data = [one.data for one in self._variants]
        if not any(data):
            return
        cells = [
            AnswerCell(UNKNOWN)
            if of is None
            else AnswerCell(
                f"{of.lost} / {of.duplicated} of {of.acknowledged}",
                float(of.lost + of.duplicated),
                bad=bool(of.lost or of.duplicated),
                short=f"{of.lost} / {of.duplicated}",
            )
            for of in data
        ]
        yield self._count_row("lost / duplicated", cells)
        for label, figure in _DATA_ROWS:
            counts = [None if of is None else figure(of) for of in data]
            if any(counts):
                totals = [of.acknowledged if of is not None else 0 for of in data]
                cells = [
                    AnswerCell(
                        UNKNOWN if count is None else f"{count} of {total}",
                        None if count is None else float(count),
                        bad=bool(count),
                        short=UNKNOWN if count is None else str(count),
                    )
                    for count, total in zip(counts, totals, strict=True)
                ]
                yield self._count_row(label, cells)

    def _failing_rows_after(self) -> Iterator[AnswerRow]:
        """Requests that still fail when the fault is over."""
        for endpoint in self._endpoints:
            found = [self._of(one, "after", endpoint) for one in self._variants]
            row = self._success_row("after", endpoint, found)
            if any(_is_below(of, STILL_FAILING) for of in found):
                yield replace(row, alone=f"{row.label}, afterwards")

    def _count_row(self, label: str, cells: Sequence[AnswerCell]) -> AnswerRow:
        """A row of counts that should be 0; each count is a fact and needs no interval."""

        def compare(first: int, second: int) -> float | None:
            one, other = cells[first].value, cells[second].value
            if one is None or other is None:
                return None
            return 0.0 if bool(one) == bool(other) else 1.0 if one else -1.0

        return self._judged(label, "", cells, self._if_proved("data", compare))


def _fails(cell: AnswerCell) -> bool:
    """Whether a bad figure means that it hardly works: not if most of the requests succeed."""
    return cell.bad and not 0.5 <= (cell.value or 0.0) < 1


def _is_below(of: EndpointResult | None, share: float) -> bool:
    """Whether fewer requests than this share succeeded; not where the model refused the figure."""
    return of is not None and of.success is not None and of.success < share


def _seen(of: EndpointResult | None) -> tuple[int, int]:
    """How many writes readers have seen, and how many were sent."""
    return (of.ok - of.never_visible, of.sent) if of is not None else (0, 0)


def _visible_cell(of: EndpointResult | None) -> AnswerCell:
    """How long until readers saw half of all writes that were sent; never, if they saw fewer."""
    spread = of.visible_ms if of is not None else None
    if of is None or spread is None:
        return AnswerCell(UNKNOWN)
    seen, sent = _seen(of)
    p50 = spread.p50 if of.visible_of_all_ms is None else of.visible_of_all_ms.p50
    if p50 is None or 2 * seen < of.ok:
        return AnswerCell(f"{NEVER}: {sent - seen} of {sent}", None, bad=True, short=NEVER)
    text = short = milliseconds(p50)
    if spread.max and spread.max > 1_000 and spread.max > 2 * p50:
        text += f", max {spread.max / 1_000:.1f} s"
    return AnswerCell(text, p50, short=short)


def _recovery_cell(variant: VariantResult) -> AnswerCell:
    """How long after the fault all kinds of requests were as usual; a variant without any fault had
    nothing to do."""
    seconds = variant.recovery_seconds
    if "recovery_seconds" in variant.unproved or variant.recovery == {}:
        return AnswerCell(UNKNOWN)
    if seconds is not None:
        return AnswerCell(f"{seconds:.1f} s", seconds)
    if not variant.faults:
        return AnswerCell(UNKNOWN)
    never = [kind for kind, after in (variant.recovery or {}).items() if after is None]
    what = ACTIONS.get(never[0], never[0]) if never else ""
    return AnswerCell(f"never: {what}" if what else NEVER, None, bad=True, short=NEVER)


def _share_cells(counts: Iterable[tuple[int, int]]) -> list[AnswerCell]:
    return [
        AnswerCell(f"{hits} of {total}", hits / total, short=formatting.success(hits / total))
        if total
        else AnswerCell(UNKNOWN)
        for hits, total in counts
    ]


def _added_up(figure: str, found: Iterable[EndpointResult]) -> tuple[int, int]:
    """A share of several phases together, as a count of a total."""
    if figure == "success":
        return sum(one.ok for one in found), sum(one.sent for one in found)
    known = [(part, one.ok) for one in found if (part := getattr(one, figure)) is not None]
    return sum(part for part, _ in known), sum(ok for _, ok in known)


def _stale(variant: VariantResult) -> tuple[int, int]:
    feeds = [phase.endpoints.get("read_feed") for phase in variant.phases.values()]
    return _added_up("stale", [one for one in feeds if one is not None])


_TWINS = {"sync-chain": "CHAIN", "async-bus": "BUS"}


def short_name(variant: str, variants: Sequence[str]) -> str:
    """CHAIN and BUS for the two arrangements of the course, unless one of them is compared with a
    single other variant, which may have a bus as well; else its name."""
    is_unclear = len(variants) == 2 and set(variants) != set(_TWINS)
    return variant if is_unclear else _TWINS.get(variant, variant)


def times(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 9.5 else f"{ratio:.1f}×"
