"""Many people's runs of one scenario as one document: `lab.merge/1`.

A percentile of percentiles is not a percentile, and two machines are not one machine. So nothing is
averaged over machines: each figure has the median run, the lowest and the highest one. None of them
lies outside what the single runs measured. Only counts are summed: answers, verdicts, guesses.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import exp, fsum, log
from pathlib import Path
from statistics import median, median_low
from typing import Any, Literal, NamedTuple

from pydantic import Field

from lab.results.result import Guess, ResultError, ResultModel, RunResult

MERGE_SCHEMA: Literal["lab.merge/1"] = "lab.merge/1"
_RESULT = "result.json"


class HandedIn(NamedTuple):
    """A result and where it was found."""

    name: str
    result: RunResult


class LeftOut(ResultModel):
    """A file that is not counted, and why."""

    name: str
    why: str


class RunSpread(ResultModel):
    """A figure of several runs: the lowest, the median and the highest one. `runs`: those that
    measured it. With an even number, the median is the lower one of the two in the middle."""

    runs: int
    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "RunSpread | None":
        found = sorted(value for value in values if value is not None)
        if not found:
            return None
        return cls(runs=len(found), low=found[0], median=median_low(found), high=found[-1])


class MergedRun(ResultModel):
    """One run. `pace`: how long requests took in its first phase, compared with the median run; the
    geometric mean over all kinds of requests, 2.0 for twice as long."""

    name: str
    started: str
    seed: int
    valid: bool
    machine: str
    pace: float | None = None


class MergedGuess(ResultModel):
    """What the room answered to one question.

    `answers`: how many gave which answer, most frequent first. `spread`: of the answers that are
    numbers. `measured`: what the runs measured. `hits`: the good ones among those `judged`.
    """

    asks: str
    short: str = ""
    variant: str = ""
    unit: str = ""
    answers: dict[str, int] = Field(default={})
    spread: RunSpread | None = None
    measured: dict[str, int] = Field(default={}, description="names, and how many runs had them")
    measured_spread: RunSpread | None = None
    judged: int = 0
    hits: int = 0


class MergedFigure(ResultModel):
    """The answers to one kind of request in one phase. `success`: of all runs' requests together;
    `success_spread`: of the single runs. Latencies in ms."""

    variant: str
    phase: str
    endpoint: str
    sent: int
    success: float | None = None
    success_spread: RunSpread | None = None
    p50_ms: RunSpread | None = None
    visible_p50_ms: RunSpread | None = None


class MergedDifference(ResultModel):
    """How much longer a variant took than another one: the ratio in each run, and its verdicts."""

    variant: str
    against: str
    phase: str
    endpoint: str
    figure: str
    ratio: RunSpread
    verdicts: dict[str, int]


class MergedExpectation(ResultModel):
    """How many runs gave which verdict."""

    says: str
    that: str
    claim: str | None = None
    verdicts: dict[str, int]


class MergedScenario(ResultModel):
    """All runs of one scenario with the same variants. What is not valid counts as a guess only."""

    scenario: str
    title: str = ""
    question: str = ""
    quick: bool = False
    runs: list[MergedRun]
    guesses: list[MergedGuess] = Field(default=[])
    figures: list[MergedFigure] = Field(default=[])
    differences: list[MergedDifference] = Field(default=[])
    expectations: list[MergedExpectation] = Field(default=[])

    @property
    def valid(self) -> int:
        """The number of valid runs."""
        return sum(run.valid for run in self.runs)


class Merge(ResultModel):
    """The document."""

    schema_: Literal["lab.merge/1"] = Field(default=MERGE_SCHEMA, alias="schema")
    scenarios: list[MergedScenario] = Field(default=[])
    left_out: list[LeftOut] = Field(default=[])

    def to_json(self) -> str:
        """The document as JSON, with a newline at the end."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


# ── Files


def find_results(paths: Sequence[Path]) -> Iterator[HandedIn | LeftOut]:
    """The results in files and folders, also deep in folders; the parts of a pooled run count once,
    as that run."""
    for path in paths:
        files = [path] if path.is_file() else sorted(path.rglob(_RESULT))
        if not files:
            yield LeftOut(name=str(path), why=f"There is no {_RESULT} in it.")
        folders = {file.parent for file in files}
        for file in files:
            if folders.isdisjoint(file.parent.parents):
                try:
                    yield HandedIn(str(file.parent), RunResult.load_file(file))
                except ResultError as error:
                    yield LeftOut(name=str(file.parent), why=str(error))


def merge(found: Iterable[HandedIn | LeftOut]) -> Merge:
    """One document of all results, a part for each scenario and set of variants."""
    merged, groups, first_with = Merge(), dict[str, list[HandedIn]](), dict[str, str]()
    for one in found:
        if isinstance(one, LeftOut):
            merged.left_out.append(one)
            continue
        text = one.result.to_json()
        if text in first_with:
            why = f"The same run as {first_with[text]}."
            merged.left_out.append(LeftOut(name=one.name, why=why))
            continue
        first_with[text] = one.name
        groups.setdefault(_experiment(one.result), []).append(one)
    merged.scenarios = [_merge_scenario(runs) for runs in groups.values()]
    return merged


def _experiment(result: RunResult) -> str:
    """What two runs must have in common for their figures to be comparable."""
    variants = [(one.name, one.arrangement, one.options) for one in result.variants]
    expected = [expectation.that for expectation in result.expectations]
    return json.dumps([result.scenario, result.quick, variants, expected], sort_keys=True)


# ── Figures


def _merge_scenario(handed_in: Sequence[HandedIn]) -> MergedScenario:
    every = [one.result for one in handed_in]
    valid, first = [result for result in every if result.valid], every[0]
    cells = _cells(valid)
    return MergedScenario(
        scenario=first.scenario,
        title=first.title,
        question=first.question,
        quick=first.quick,
        runs=[_merged_run(one, valid) for one in handed_in],
        guesses=[_merge_guess(key, every) for key in _guess_keys(every)],
        figures=[figure for cell in cells if (figure := _merge_figure(cell, valid)).sent],
        differences=_merge_differences(valid),
        expectations=[
            MergedExpectation(
                says=expectation.says,
                that=expectation.that,
                claim=expectation.claim,
                verdicts=_counted(result.expectations[at].verdict for result in valid),
            )
            for at, expectation in enumerate(first.expectations)
        ],
    )


Cell = tuple[str, str, str]
"""Variant, phase and kind of request."""


def _cells(results: Sequence[RunResult]) -> list[Cell]:
    return list(
        dict.fromkeys(
            (variant.name, name, endpoint)
            for result in results
            for variant in result.variants
            for name, phase in variant.phases.items()
            for endpoint in phase.endpoints
        )
    )


def _figure(result: RunResult, cell: Cell) -> Any:
    """The figures of one run in a cell; None if it has none."""
    variant = result.variant(cell[0])
    phase = variant and variant.phases.get(cell[1])
    return phase and phase.endpoints.get(cell[2])


def _merge_figure(cell: Cell, results: Sequence[RunResult]) -> MergedFigure:
    found = [figure for result in results if (figure := _figure(result, cell))]
    sent = sum(figure.sent for figure in found)
    return MergedFigure(
        variant=cell[0],
        phase=cell[1],
        endpoint=cell[2],
        sent=sent,
        success=sum(figure.ok for figure in found) / sent if sent else None,
        success_spread=RunSpread.of(figure.success for figure in found),
        p50_ms=RunSpread.of(figure.latency_ms.p50 for figure in found),
        visible_p50_ms=RunSpread.of(
            figure.visible_ms.p50 for figure in found if figure.visible_ms is not None
        ),
    )


def _merge_differences(results: Sequence[RunResult]) -> list[MergedDifference]:
    by_key: dict[tuple[str, str, str, str, str], list[Any]] = {}
    for result in results:
        for one in result.differences:
            key = (one.variant, one.against, one.phase, one.endpoint, one.figure)
            by_key.setdefault(key, []).append(one)
    return [
        MergedDifference(
            **dict(zip(("variant", "against", "phase", "endpoint", "figure"), key, strict=True)),
            ratio=spread,
            verdicts=_counted(one.verdict for one in found),
        )
        for key, found in by_key.items()
        if (spread := RunSpread.of(one.ratio for one in found))
    ]


def _merged_run(one: HandedIn, valid: Sequence[RunResult]) -> MergedRun:
    result = one.result
    return MergedRun(
        name=one.name,
        started=result.started,
        seed=result.seed,
        valid=result.valid,
        machine=_machine(result.environment),
        pace=_pace(result, valid) if result.valid else None,
    )


def _machine(environment: dict[str, Any]) -> str:
    """A machine in a few words: processor, cores, memory, system."""
    memory = environment.get("memory_gib")
    words = (
        environment.get("processor"),
        f"{environment['cores']} cores" if environment.get("cores") else None,
        f"{memory:g} GiB" if isinstance(memory, int | float) else None,
        environment.get("system"),
    )
    return ", ".join(str(word) for word in words if word) or "unknown"


def _pace(result: RunResult, results: Sequence[RunResult]) -> float | None:
    """How long requests took in the first phase, compared with the median run (1.0: as long)."""
    ratios = []
    for cell in _cells([result]):
        variant = result.variant(cell[0])
        if not variant or cell[1] != next(iter(variant.phases)):
            continue
        of_all = [figure.latency_ms.p50 for one in results if (figure := _figure(one, cell))]
        own = _figure(result, cell).latency_ms.p50
        if own and (measured := [p50 for p50 in of_all if p50]):
            ratios.append(log(own / median(measured)))
    return exp(fsum(ratios) / len(ratios)) if ratios else None


# ── Guesses


def _guess_keys(results: Sequence[RunResult]) -> list[tuple[str, str]]:
    return list(
        dict.fromkeys((guess.asks, guess.variant) for one in results for guess in one.guesses)
    )


def _merge_guess(key: tuple[str, str], results: Sequence[RunResult]) -> MergedGuess:
    given = [
        (guess, result.valid)
        for result in results
        for guess in result.guesses
        if (guess.asks, guess.variant) == key
    ]
    first = given[0][0]
    judged = [guess for guess, valid in given if valid and guess.hit is not None]

    def numbers(values: Iterable[float | str | None]) -> RunSpread | None:
        return RunSpread.of(value for value in values if isinstance(value, int | float))

    def words(guesses: Iterable[Guess], of: Callable[[Guess], Any]) -> dict[str, int]:
        return _counted(word for guess in guesses if isinstance(word := of(guess), str))

    every = [guess for guess, _ in given]
    return MergedGuess(
        asks=first.asks,
        short=first.short,
        variant=first.variant,
        unit=first.unit,
        answers=words(every, lambda guess: _as_words(guess.guessed)),
        spread=numbers(guess.guessed for guess in every),
        measured=words(judged, lambda guess: guess.measured),
        measured_spread=numbers(guess.measured for guess in judged),
        judged=len(judged),
        hits=sum(guess.hit is True for guess in judged),
    )


def _as_words(guessed: float | str) -> str:
    return guessed if isinstance(guessed, str) else f"{guessed:g}"


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())
