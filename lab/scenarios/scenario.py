"""A scenario: its load, its faults and their times, and what must then be observed.

It is a TOML file, so that no Python is needed to write one. The terms come from Chaos Toolkit: the
*method* is what is done to the system; the *steady state* must hold before that, because an
experiment on a system that was already faulty shows nothing. A file that is not valid is refused
with all its problems at once, one sentence each.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from lab.cluster.fault_rules import known_targets, why_fault_impossible
from lab.results.claims import CLAIMS
from lab.results.expressions import (
    PLACEHOLDER,
    check,
    check_figure,
    figures_refer_only_to,
    refers_only_to,
)
from lab.results.paths import ExpressionError, phase_key
from lab.results.timeline import (
    RECOVERING,
    WARM_UP_PHASE,
    FaultWindow,
    ScenarioPhase,
    Timeline,
)
from lab.scenarios.late_joiners import halved, late_joiner_problems, surge_problems
from lab.scenarios.spec import (
    AnswerSpec,
    BetSpec,
    ExpectationSpec,
    ForeignOpenSpec,
    HistorySpec,
    LoadSpec,
    MethodSpec,
    NewcomerSpec,
    PhasesSpec,
    PredictionSpec,
    SpecModel,
    Tag,
    VariantSpec,
)
from lab.scenarios.switches import expand_targets, variant_problems, why_method_inapplicable
from lab.support.text import did_you_mean
from lab.support.toml_model import FileError, FileType, read_model

# ── Scenario files


class ScenarioError(FileError):
    """A scenario file that cannot be read or is not valid."""


SCENARIO_FILE = FileType(
    "a scenario",
    ScenarioError,
    # A table with this single key is easier to read at the end of a file than a bare key at its
    # beginning. Both forms are accepted.
    tables={"explain": "text", "steady_state": "that"},
)


# ── Scenarios


class UnknownVariant(ValueError):
    """A scenario was asked for a variant that it doesn't have."""


class Scenario(SpecModel):
    """A whole experiment; `name` is the name of its file."""

    name: str
    title: Annotated[str, Field(min_length=1, max_length=200)]
    claims: tuple[str, ...] = ()
    tags: tuple[Tag, ...] = ()
    question: Annotated[str, Field(max_length=2_000)] = ""
    load: LoadSpec = LoadSpec()
    phases: PhasesSpec = PhasesSpec()
    isolate: bool = False  # whether the variants run one after another, not side by side
    method: tuple[MethodSpec, ...] = ()
    history: HistorySpec | None = None
    newcomer: Annotated[tuple[NewcomerSpec, ...], Field(max_length=1)] = ()
    reach_in: tuple[ForeignOpenSpec, ...] = ()
    variants: Annotated[dict[str, VariantSpec], Field(min_length=1, max_length=6)]
    steady_state: tuple[str, ...] = ()
    predict: tuple[PredictionSpec, ...] = ()
    expect: tuple[ExpectationSpec, ...] = ()
    answer: AnswerSpec = AnswerSpec()
    bet: Annotated[tuple[BetSpec, ...], Field(max_length=20)] = ()
    explain: Annotated[str, Field(max_length=10_000)] = ""

    @field_validator("variants")
    @classmethod
    def _arrangement_is_the_name(cls, variants: dict[str, VariantSpec]) -> dict[str, VariantSpec]:
        return {
            name: spec.model_copy(update={"arrangement": spec.arrangement or name})
            for name, spec in variants.items()
        }

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if problems := list(_problems(self)):
            raise ValueError("\n".join(problems))
        return self

    @classmethod
    def load_file(cls, path: Path) -> Self:
        """Read a scenario; raises ScenarioError with one sentence for each problem."""
        return read_model(cls, path, SCENARIO_FILE)

    @property
    def in_sequence(self) -> bool:
        """Whether the methods act one after another, each in its own phase."""
        return self.phases.each is not None

    def affected_variants(self, method: MethodSpec) -> tuple[str, ...]:
        """The names of the variants that a method can act on: of those it names, or of all."""
        method = expand_targets(method)[0]
        return tuple(
            name
            for name, spec in self.variants.items()
            if (method.variants is None or name in method.variants)
            and spec.base_arrangement is not None
            and why_method_inapplicable(method, spec) is None
        )

    def timeline(self) -> Timeline:
        """When each phase and each fault begins and ends."""
        lengths = self.phases
        before = ScenarioPhase("before", WARM_UP_PHASE.until_s, lengths.before)
        middle = list(self._middle_phases(before.until_s))
        after = ScenarioPhase("after", middle[-1].until_s, lengths.after)
        return Timeline((before, *middle, after))

    def _middle_phases(self, from_s: float) -> Iterator[ScenarioPhase]:
        """The phase `during`, or the phases of a sequence."""
        lengths = self.phases
        if lengths.each is None:
            windows = tuple(
                window
                for method in self.method
                for window in self._fault_windows(
                    method, from_s + method.at, method.seconds or lengths.during - method.at
                )
            )
            yield ScenarioPhase(
                "during", from_s, lengths.during, windows, rate=self.load.during_rate
            )
            return
        for method in self.method:
            windows = tuple(self._fault_windows(method, from_s, lengths.each))
            yield ScenarioPhase(method.phase_name, from_s, lengths.each, windows)
            from_s += lengths.each
            if lengths.between:
                yield ScenarioPhase(RECOVERING, from_s, lengths.between)
                from_s += lengths.between

    def reported_phases(self) -> tuple[str, ...]:
        """The names of the phases whose figures count, in order."""
        steps = [method.phase_name for method in self.method] if self.in_sequence else ["during"]
        return ("before", *steps, "after")

    def quick(self) -> Self:
        """The same experiment in half the time, with half the samples; unchanged if `halve` is
        false."""
        if not (lengths := self.phases).halve:
            return self
        halved_lengths = {
            name: None if seconds is None else _half_duration(seconds)
            for name, seconds in lengths.model_dump(exclude={"halve"}).items()
        }
        share = (halved_lengths["during"] or 1) / lengths.during
        method = tuple(
            method.model_copy(
                update={
                    "at": method.at * share,
                    "seconds": method.seconds and method.seconds * share,
                }
            )
            for method in self.method
        )
        phases = lengths.model_copy(update=halved_lengths)
        update = {"phases": phases, "method": method}
        update |= halved(self.history, self.newcomer, share)
        return self.model_copy(update=update)

    def at_rate(self, rate: float) -> Self:
        """The same experiment with another arrival rate, for each variant. Raises ValueError for a
        rate that is no number."""
        if not math.isfinite(rate):
            raise ValueError(f"--rate: {rate} is not a number of arrivals per second.")
        return self.model_copy(update={"load": self.load.with_rate(rate)})

    def only(self, names: Sequence[str]) -> Self:
        """The same experiment with some of its variants, and the expectations and predictions that
        need no others.

        Raises UnknownVariant when one of the names is not a variant's.
        """
        for name in names:
            if name not in self.variants:
                raise UnknownVariant(
                    f"{self.name} has no variant {name!r}. {did_you_mean(name, self.variants)}"
                )
        variants = {name: spec for name, spec in self.variants.items() if name in names}
        return self.model_copy(update={"variants": variants}).without_missing_figures()

    def without_missing_figures(self) -> Self:
        """The same experiment without the expectations, predictions and texts of the answer that
        use a variant or a phase that it does not have."""
        scope = tuple(self.variants), self.reported_phases()
        missing = {
            name: ""
            for name, text in (("why", self.answer.why), ("catch", self.answer.catch))
            if not figures_refer_only_to(PLACEHOLDER.findall(text), *scope)
        }
        update = {
            "expect": tuple(each for each in self.expect if refers_only_to(each.that, *scope)),
            "predict": tuple(
                each for each in self.predict if figures_refer_only_to(each.expressions, *scope)
            ),
            "answer": self.answer.model_copy(update=missing),
        }
        return self.model_copy(update=update)

    def _fault_windows(
        self, method: MethodSpec, from_s: float, seconds: float
    ) -> Iterator[FaultWindow]:
        methods = expand_targets(method)
        group = method.target if len(methods) > 1 else ""
        for method_on_target in methods:
            if variants := self.affected_variants(method_on_target):
                yield FaultWindow(method_on_target.to_fault(), from_s, seconds, variants, group)


def _half_duration(seconds: float) -> float:
    return max(0.5, math.floor(seconds + 0.5) / 2) if seconds else 0.0


def _problems(scenario: Scenario) -> Iterator[str]:
    """The problems of keys that are each valid alone: one sentence each, beginning with the key."""
    for name, spec in scenario.variants.items():
        yield from variant_problems(f"variants.{name}", name, spec)
    for claim in scenario.claims:
        if claim not in CLAIMS:
            yield f"claims: there is no claim {claim!r}. {did_you_mean(claim, CLAIMS)}"
    for number, method in enumerate(scenario.method, 1):
        yield from _method_problems(f"method {number}", method, scenario)
    yield from surge_problems(scenario.load, scenario.phases)
    yield from late_joiner_problems(
        scenario.history, scenario.newcomer, scenario.variants, scenario.phases
    )
    if scenario.in_sequence:
        occurrences = Counter((method.target, method.fault) for method in scenario.method)
        for (target, fault), times in occurrences.items():
            if times > 1:
                yield (
                    f"method: {fault} of {target} is there {times} times. In a sequence each "
                    "method has one phase: name it once."
                )
    variants, phases = tuple(scenario.variants), scenario.reported_phases()
    for number, text in enumerate(scenario.steady_state, 1):
        yield from _expression_problems(f"steady_state {number}", text, variants, phases, True)
    for number, predict in enumerate(scenario.predict, 1):
        for text in predict.expressions:
            try:
                check_figure(text, variants, phases)
            except ExpressionError as error:
                yield f"predict {number}: {error}"
    yield from _answer_problems(scenario.answer, variants, phases)
    for number, expect in enumerate(scenario.expect, 1):
        key = f"expect {number}"
        if expect.claim is not None and expect.claim not in scenario.claims:
            yield (
                f"{key}: tests claim {expect.claim!r}, which is not in the scenario's `claims`. "
                f"{did_you_mean(expect.claim, scenario.claims or CLAIMS)}"
            )
        yield from _expression_problems(key, expect.that, variants, phases, False)


def _answer_problems(
    answer: AnswerSpec, variants: tuple[str, ...], phases: tuple[str, ...]
) -> Iterator[str]:
    for name, sentence in (("why", answer.why), ("catch", answer.catch)):
        for text in PLACEHOLDER.findall(sentence):
            try:
                check_figure(text, variants, phases)
            except ExpressionError as error:
                yield f"answer.{name}: {error}"
    figures = {f"rows {number}": row.figure for number, row in enumerate(answer.rows, 1)}
    lines = {"better": answer.better, "price": answer.price}
    figures |= {key: line.figure for key, line in lines.items() if line is not None}
    for key, figure in figures.items():
        path = f"{variants[0]}.{figure}".replace("*", phase_key(phases[0]))
        try:
            check_figure(path, variants, phases)
        except ExpressionError as error:
            yield f"answer.{key}: {error}"


def _method_problems(key: str, method: MethodSpec, scenario: Scenario) -> Iterator[str]:
    targets = known_targets()
    impossible = None
    try:
        fault = expand_targets(method)[0].to_fault()
        impossible = why_fault_impossible(fault) if fault.target in targets else None
    except ValueError as error:
        yield f"{key}: {error}"
    if method.target not in targets:
        yield (
            f"{key}: there is no target {method.target!r}. {did_you_mean(method.target, targets)}"
        )
    elif unknown := [name for name in method.variants or () if name not in scenario.variants]:
        yield f"{key}: no variant {unknown[0]!r}. {did_you_mean(unknown[0], scenario.variants)}"
    elif impossible:
        yield f"{key}: {impossible}"
    elif not scenario.affected_variants(method):
        intended = [scenario.variants[name] for name in method.variants or scenario.variants]
        reasons = [
            why_method_inapplicable(expand_targets(method)[0], spec)
            for spec in intended
            if spec.base_arrangement is not None
        ]
        yield (
            f"{key}: it acts on none of its variants. {next((why for why in reasons if why), '')}"
        ).rstrip()
    if scenario.in_sequence and (method.at or method.seconds is not None):
        yield f"{key}: phases.each is the length of every method. Remove at and seconds."
    elif (
        not scenario.in_sequence
        and method.at + (method.seconds or 0.01) > scenario.phases.during + 1e-9
    ):
        yield (
            f"{key}: would last beyond the {scenario.phases.during:g} s of phases.during. "
            "Begin sooner (at), last shorter (seconds), or give the phase more time."
        )


def _expression_problems(
    key: str, text: str, variants: tuple[str, ...], phases: tuple[str, ...], steady: bool
) -> Iterator[str]:
    try:
        check(text, variants, phases, steady)
    except ExpressionError as error:
        yield f"{key}: {error}"
