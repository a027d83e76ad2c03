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

from lab.cluster.fault_rules import known_targets, makes_no_sense
from lab.results.claims import CLAIMS
from lab.results.expressions import check, check_figure, is_about, is_figure_of
from lab.results.paths import ExpressionError
from lab.results.result import RECOVERING, FaultWindow, Phase
from lab.scenarios.late_joiners import halved, joining_problems, surge_problems
from lab.scenarios.spec import (
    Expect,
    HistorySpec,
    LoadSpec,
    Method,
    NewcomerSpec,
    PhasesSpec,
    Predict,
    ReachIn,
    Strict,
    Tag,
    VariantSpec,
)
from lab.scenarios.switches import each_target, variant_problems, why_not
from lab.support.text import did_you_mean
from lab.support.toml_model import FileError, Kind, read_model

# ── Scenario files


class ScenarioError(FileError):
    """A scenario file that cannot be read or is not valid."""


SCENARIO_FILE = Kind(
    "a scenario",
    ScenarioError,
    # A table with this single key is easier to read at the end of a file than a bare key at its
    # beginning. Both forms are accepted.
    tables={"explain": "text", "steady_state": "that"},
)


# ── Scenarios


class UnknownVariant(ValueError):
    """A scenario was asked for a variant that it doesn't have."""


class Scenario(Strict):
    """A whole experiment; `name` is the name of its file."""

    name: str
    title: Annotated[str, Field(min_length=1, max_length=200)]
    claims: tuple[str, ...] = ()
    tags: tuple[Tag, ...] = ()
    question: Annotated[str, Field(max_length=2_000)] = ""
    load: LoadSpec = LoadSpec()
    phases: PhasesSpec = PhasesSpec()
    isolate: bool = False  # whether the variants run one after another, not side by side
    method: tuple[Method, ...] = ()
    history: HistorySpec | None = None
    newcomer: Annotated[tuple[NewcomerSpec, ...], Field(max_length=1)] = ()
    reach_in: tuple[ReachIn, ...] = ()
    variants: Annotated[dict[str, VariantSpec], Field(min_length=1, max_length=6)]
    steady_state: tuple[str, ...] = ()
    predict: tuple[Predict, ...] = ()
    expect: tuple[Expect, ...] = ()
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

    def applies_to(self, method: Method) -> tuple[str, ...]:
        """The names of the variants that a method can act on: of those it names, or of all."""
        method = each_target(method)[0]
        return tuple(
            name
            for name, spec in self.variants.items()
            if (method.variants is None or name in method.variants)
            and spec.made_of is not None
            and why_not(method, spec) is None
        )

    def timeline(self) -> tuple[Phase, ...]:
        """The phases in order, each with its faults; without the warm-up, which precedes them."""
        lengths = self.phases
        before, after = Phase("before", lengths.before), Phase("after", lengths.after)
        if lengths.each is None:
            windows = tuple(
                window
                for one in self.method
                for window in self._windows(one, one.at, one.seconds or lengths.during - one.at)
            )
            return (before, Phase("during", lengths.during, windows), after)
        steps: list[Phase] = []
        for one in self.method:
            windows = tuple(self._windows(one, 0.0, lengths.each))
            steps.append(Phase(one.phase_name, lengths.each, windows))
            if lengths.between:
                steps.append(Phase(RECOVERING, lengths.between))
        return (before, *steps, after)

    def reported_phases(self) -> tuple[str, ...]:
        """The names of the phases whose figures count, in order."""
        steps = [one.phase_name for one in self.method] if self.in_sequence else ["during"]
        return ("before", *steps, "after")

    def quick(self) -> Self:
        """The same experiment in half the time, with half the samples; unchanged if `halve` is
        false."""
        if not (lengths := self.phases).halve:
            return self
        shorter = {
            name: None if seconds is None else _halved(seconds)
            for name, seconds in lengths.model_dump(exclude={"halve"}).items()
        }
        share = (shorter["during"] or 1) / lengths.during
        method = tuple(
            one.model_copy(
                update={"at": one.at * share, "seconds": one.seconds and one.seconds * share}
            )
            for one in self.method
        )
        phases = lengths.model_copy(update=shorter)
        update = {"phases": phases, "method": method}
        update |= halved(self.history, self.newcomer, share)
        return self.model_copy(update=update)

    def at_rate(self, rate: float) -> Self:
        """The same experiment with another arrival rate, for each variant."""
        return self.model_copy(update={"load": self.load.at(rate)})

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
        phases = self.reported_phases()
        expect = tuple(one for one in self.expect if is_about(one.that, tuple(variants), phases))
        predict = tuple(
            one for one in self.predict if is_figure_of(one.both, tuple(variants), phases)
        )
        update = {"variants": variants, "expect": expect, "predict": predict}
        return self.model_copy(update=update)

    def _windows(self, method: Method, at_s: float, seconds: float) -> Iterator[FaultWindow]:
        each = each_target(method)
        group = method.target if len(each) > 1 else ""
        for one in each:
            if variants := self.applies_to(one):
                yield FaultWindow(one.parsed(), at_s, seconds, variants, group)


def _halved(seconds: float) -> float:
    return max(0.5, math.floor(seconds + 0.5) / 2) if seconds else 0.0


def _problems(of: Scenario) -> Iterator[str]:
    """The problems of keys that are each valid alone: one sentence each, beginning with the key."""
    for name, spec in of.variants.items():
        yield from variant_problems(f"variants.{name}", name, spec)
    for claim in of.claims:
        if claim not in CLAIMS:
            yield f"claims: there is no claim {claim!r}. {did_you_mean(claim, CLAIMS)}"
    for number, method in enumerate(of.method, 1):
        yield from _method_problems(f"method {number}", method, of)
    yield from surge_problems(of.load, of.phases)
    yield from joining_problems(of.history, of.newcomer, of.variants, of.phases)
    if of.in_sequence:
        twice = Counter((one.target, one.fault) for one in of.method)
        for (target, fault), times in twice.items():
            if times > 1:
                yield f"method: {fault} of {target} is there {times} times; once is one phase."
    variants, phases = tuple(of.variants), of.reported_phases()
    for number, text in enumerate(of.steady_state, 1):
        yield from _expression_problems(f"steady_state {number}", text, variants, phases, True)
    for number, predict in enumerate(of.predict, 1):
        for text in predict.both:
            try:
                check_figure(text, variants, phases)
            except ExpressionError as error:
                yield f"predict {number}: {error}"
    for number, expect in enumerate(of.expect, 1):
        key = f"expect {number}"
        if expect.claim is not None and expect.claim not in of.claims:
            yield (
                f"{key}: bears on claim {expect.claim!r}, which isn't among the scenario's claims. "
                f"{did_you_mean(expect.claim, of.claims or CLAIMS)}"
            )
        yield from _expression_problems(key, expect.that, variants, phases, False)


def _method_problems(key: str, method: Method, of: Scenario) -> Iterator[str]:
    everywhere = known_targets()
    nowhere = None
    try:
        fault = each_target(method)[0].parsed()
        nowhere = makes_no_sense(fault) if fault.target in everywhere else None
    except ValueError as error:
        yield f"{key}: {error}"
    if method.target not in everywhere:
        yield (
            f"{key}: there is no target {method.target!r}. "
            f"{did_you_mean(method.target, everywhere)}"
        )
    elif strangers := [name for name in method.variants or () if name not in of.variants]:
        yield f"{key}: no variant {strangers[0]!r}. {did_you_mean(strangers[0], of.variants)}"
    elif nowhere:
        yield f"{key}: {nowhere}"
    elif not of.applies_to(method):
        meant = [of.variants[name] for name in method.variants or of.variants]
        whys = [why_not(each_target(method)[0], one) for one in meant if one.made_of is not None]
        yield (
            f"{key}: no variant it is meant for can be hurt by it, "
            f"so it would hurt nobody. {next((why for why in whys if why), '')}"
        ).rstrip()
    if of.in_sequence and (method.at or method.seconds is not None):
        yield f"{key}: with phases.each every method lasts just that long; take at and seconds out."
    elif not of.in_sequence and method.at + (method.seconds or 0.01) > of.phases.during + 1e-9:
        yield (
            f"{key}: would last beyond the {of.phases.during:g} s of phases.during. "
            "Begin sooner (at), last shorter (seconds), or give the phase more time."
        )


def _expression_problems(
    key: str, text: str, variants: tuple[str, ...], phases: tuple[str, ...], steady: bool
) -> Iterator[str]:
    try:
        check(text, variants, phases, steady)
    except ExpressionError as error:
        yield f"{key}: {error}"
