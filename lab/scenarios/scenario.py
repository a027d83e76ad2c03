"""A scenario: what is loaded, what is broken and when, and what must then be seen.

It is a TOML file, so that nobody needs Python to have an idea. The words are Chaos Toolkit's:
*method* is what is done to the system, *steady state* is what has to hold before it is done, for
an experiment on a patient who was ill already says nothing. A file that can't be meant as it is
written is refused with every problem at once, in sentences.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from lab.cluster.topology import ARRANGEMENTS
from lab.scenarios.claims import CLAIMS
from lab.scenarios.expression import check, is_about
from lab.scenarios.figures import ExpressionError, did_you_mean
from lab.scenarios.reading import read_model
from lab.scenarios.spec import Expect, LoadSpec, Method, PhasesSpec, Strict, VariantSpec
from lab.scenarios.timeline import RECOVERING, FaultWindow, Phase


class UnknownVariant(ValueError):
    """A scenario was asked for a variant that it doesn't have."""


class Scenario(Strict):
    """A whole experiment; `name` is the name of its file."""

    name: str
    title: Annotated[str, Field(min_length=1, max_length=200)]
    claims: tuple[str, ...] = ()
    question: Annotated[str, Field(max_length=2_000)] = ""
    load: LoadSpec = LoadSpec()
    phases: PhasesSpec = PhasesSpec()
    method: tuple[Method, ...] = ()
    variants: Annotated[dict[str, VariantSpec], Field(min_length=1, max_length=6)]
    steady_state: tuple[str, ...] = ()
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
        return read_model(cls, path)

    @property
    def in_sequence(self) -> bool:
        """Whether the methods come one after another, each in a phase of its own."""
        return self.phases.each is not None

    def applies_to(self, method: Method) -> tuple[str, ...]:
        """The variants that a method can act on: those it names, where they have its target."""
        return tuple(
            name
            for name, spec in self.variants.items()
            if (method.variants is None or name in method.variants)
            and spec.arrangement in ARRANGEMENTS
            and method.target in ARRANGEMENTS[spec.arrangement].targets
        )

    def timeline(self) -> tuple[Phase, ...]:
        """The phases in order, each with its faults; the runner puts its warm-up before them."""
        lengths = self.phases
        before, after = Phase("before", lengths.before), Phase("after", lengths.after)
        if lengths.each is None:
            windows = tuple(
                self._window(one, one.at, one.seconds or lengths.during - one.at)
                for one in self.method
            )
            return (before, Phase("during", lengths.during, windows), after)
        steps: list[Phase] = []
        for one in self.method:
            window = self._window(one, 0.0, lengths.each)
            steps.append(Phase(one.phase_name, lengths.each, (window,)))
            if lengths.between:
                steps.append(Phase(RECOVERING, lengths.between))
        return (before, *steps, after)

    def reported_phases(self) -> tuple[str, ...]:
        """The names of the phases whose figures count, in order."""
        steps = [one.phase_name for one in self.method] if self.in_sequence else ["during"]
        return ("before", *steps, "after")

    def quick(self) -> Self:
        """The same experiment in half the time: enough to try it, with half the samples."""
        lengths = self.phases
        shorter = {
            name: None if seconds is None else _halved(seconds)
            for name, seconds in lengths.model_dump().items()
        }
        share = (shorter["during"] or 1) / lengths.during
        method = tuple(
            one.model_copy(
                update={"at": one.at * share, "seconds": one.seconds and one.seconds * share}
            )
            for one in self.method
        )
        phases = lengths.model_copy(update=shorter)
        return self.model_copy(update={"phases": phases, "method": method})

    def at_rate(self, rate: float) -> Self:
        """The same experiment with another arrival rate, for each variant."""
        return self.model_copy(update={"load": self.load.model_copy(update={"rate": rate})})

    def only(self, names: Sequence[str]) -> Self:
        """The same experiment with some of its variants, and what can be expected of those.

        Raises UnknownVariant when one of the names isn't a variant's.
        """
        for name in names:
            if name not in self.variants:
                raise UnknownVariant(
                    f"{self.name} has no variant {name!r}. {did_you_mean(name, self.variants)}"
                )
        variants = {name: spec for name, spec in self.variants.items() if name in names}
        phases = self.reported_phases()
        expect = tuple(one for one in self.expect if is_about(one.that, tuple(variants), phases))
        return self.model_copy(update={"variants": variants, "expect": expect})

    def _window(self, method: Method, at_s: float, seconds: float) -> FaultWindow:
        return FaultWindow(method.parsed(), at_s, seconds, self.applies_to(method))


def _halved(seconds: float) -> float:
    return max(0.5, math.floor(seconds + 0.5) / 2) if seconds else 0.0


_WORKERS = {"workers": (1, 64)}
SWITCHES: dict[str, dict[str, tuple[int, int]]] = {
    "sync-chain": {**_WORKERS, "timeout_ms": (1, 60_000)},
    "async-bus": _WORKERS,
}
"""What a variant may set by its arrangement, and from where to where: whole numbers. A service on
the bus asks nobody, so there is no time after which it would stop waiting."""


def _problems(of: Scenario) -> Iterator[str]:
    """What is wrong with keys that are each well-formed: one sentence each, the key first."""
    for name, spec in of.variants.items():
        yield from _variant_problems(f"variants.{name}", name, spec)
    for claim in of.claims:
        if claim not in CLAIMS:
            yield f"claims: there is no claim {claim!r}. {did_you_mean(claim, CLAIMS)}"
    for number, method in enumerate(of.method, 1):
        yield from _method_problems(f"method {number}", method, of)
    if of.in_sequence:
        twice = Counter((one.target, one.fault) for one in of.method)
        for (target, fault), times in twice.items():
            if times > 1:
                yield f"method: {fault} of {target} is there {times} times; once is one phase."
    variants, phases = tuple(of.variants), of.reported_phases()
    for number, text in enumerate(of.steady_state, 1):
        yield from _expression_problems(f"steady_state {number}", text, variants, phases, True)
    for number, expect in enumerate(of.expect, 1):
        key = f"expect {number}"
        if expect.claim is not None and expect.claim not in of.claims:
            yield (
                f"{key}: bears on claim {expect.claim!r}, which isn't among the scenario's claims. "
                f"{did_you_mean(expect.claim, of.claims or CLAIMS)}"
            )
        yield from _expression_problems(key, expect.that, variants, phases, False)


def _variant_problems(key: str, name: str, spec: VariantSpec) -> Iterator[str]:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        yield f"{key}: a variant's name has small letters, digits and hyphens: sync-chain."
    if spec.arrangement not in ARRANGEMENTS:
        yield (
            f"{key}: there is no arrangement {spec.arrangement!r}. "
            f"{did_you_mean(spec.arrangement, ARRANGEMENTS)} A variant that isn't named after its "
            'arrangement says: arrangement = "..."'
        )
    switches = SWITCHES.get(spec.arrangement, {})
    for switch, value in spec.options.items():
        if switch not in switches:
            kind = spec.arrangement
            yield f"{key}: {kind} has no switch {switch!r}. {did_you_mean(switch, switches)}"
            continue
        low, high = switches[switch]
        if type(value) is not int or not low <= value <= high:
            meant = f"it was meant to be a whole number, {low} to {high}"
            yield f"{key}.{switch}: saw {value!r}; {meant}."


def _method_problems(key: str, method: Method, of: Scenario) -> Iterator[str]:
    try:
        method.parsed()
    except ValueError as error:
        yield f"{key}: {error}"
    everywhere = dict.fromkeys(target for some in ARRANGEMENTS.values() for target in some.targets)
    if method.target not in everywhere:
        yield (
            f"{key}: there is no target {method.target!r}. "
            f"{did_you_mean(method.target, everywhere)}"
        )
    elif strangers := [name for name in method.variants or () if name not in of.variants]:
        yield f"{key}: no variant {strangers[0]!r}. {did_you_mean(strangers[0], of.variants)}"
    elif not of.applies_to(method):
        yield f"{key}: no variant it is meant for has {method.target!r}, so it would hurt nobody."
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
