"""A lecture: scenes that `lab live --script FILE` shows one after another, read from a TOML file.

A scene asks the room, changes the faults or the load, waits for what it is there to show, and keeps
the card of the outage on the screen; each part is optional, and they come in this order.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from lab.faults.kinds import Fault
from lab.scenarios.scenario import Scenario, ScenarioError
from lab.scenarios.spec import BetSpec, LoadSpec, MethodSpec, Rate, SpecModel, VariantSpec
from lab.support.toml_model import FileType, read_model, read_toml

CONDITIONS = ("decided", "normal")


class SceneFault(MethodSpec):
    """A fault of a scene, as in a scenario's `method`, and the variant in which it acts."""

    at: Literal[0] = 0
    seconds: None = None


class SceneSpec(SpecModel):
    """A scene. `heal`: remove all faults before the scene's own begin. `wait_until`: a number of
    seconds, "decided" (the measurement has decided the bet) or "normal" (both halves are back to
    normal after a heal); the screen says that it waits, and then the card comes by itself. `card`:
    keep the card of the last outage on the screen until the next step."""

    say: Annotated[str, Field(max_length=2_000)] = ""
    bet: BetSpec | None = None
    heal: bool = False
    rate: Rate | None = None
    faults: tuple[SceneFault, ...] = ()
    wait_until: Annotated[float | str | None, Field(union_mode="left_to_right")] = None
    card: bool = False

    @field_validator("wait_until")
    @classmethod
    def _is_a_condition(cls, value: float | str | None) -> float | str | None:
        is_time = isinstance(value, float) and 0 < value <= 600
        if value is not None and not is_time and value not in CONDITIONS:
            raise ValueError('seconds (at most 600), "decided" or "normal" is possible here.')
        return value

    @model_validator(mode="after")
    def _has_something(self) -> Self:
        if not (self.say or self.bet or self.changes_something or self.card):
            raise ValueError("an empty scene. Give it `say`, `bet`, `faults`, `heal` or `rate`.")
        if self.wait_until and not self.changes_something:
            raise ValueError("`wait_until` waits for an effect. Add `faults`, `heal` or `rate`.")
        if self.wait_until == "decided" and not (self.bet and self.bet.measure and self.faults):
            raise ValueError(
                '`wait_until = "decided"` needs a `bet` with `measure`, and `faults` that decide '
                "it, in the same scene."
            )
        return self

    @property
    def changes_something(self) -> bool:
        return bool(self.faults or self.heal or self.rate)


class Lecture(SpecModel):
    """The scenes of a lecture, over two variants. `name` is the name of the file."""

    name: str
    title: Annotated[str, Field(min_length=1, max_length=200)]
    load: LoadSpec = LoadSpec()
    variants: Annotated[dict[str, VariantSpec], Field(min_length=2, max_length=2)] = Field(
        default_factory=lambda: {
            name: VariantSpec(arrangement=name) for name in ("sync-chain", "async-bus")
        }
    )
    scene: Annotated[tuple[SceneSpec, ...], Field(max_length=100)]

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if problems := list(self._problems()):
            raise ValueError("\n".join(problems))
        return self

    def as_scenario(self, scene: SceneSpec | None = None) -> Scenario:
        """A scenario with the same variants and load, and the faults of the scene.

        Raises ValidationError where a scenario may not have them."""
        return Scenario(
            name=self.name,
            title=self.title,
            load=self.load,
            variants=self.variants,
            method=scene.faults if scene else (),
        )

    def _problems(self) -> Iterator[str]:
        if not self.scene:
            yield "a lecture needs at least one [[scene]]."
        active: list[str] = []
        for number, scene in enumerate(self.scene, 1):
            try:
                self.as_scenario(scene)
            except ValidationError as error:
                for one in error.errors():
                    text = one["msg"].removeprefix("Value error, ")
                    text = text.replace("method ", "faults ")
                    yield from (f"scene {number}: {line}" for line in text.splitlines())
            active = [*([] if scene.heal else active), *(one.phase_name for one in scene.faults)]
            if scene.wait_until == "normal" and active:
                yield (
                    f"scene {number}: it waits until all is normal, while {', '.join(active)} "
                    "lasts. Add heal = true, or leave wait_until out."
                )


def faults_of(scene: SceneSpec) -> list[tuple[Fault, str | None]]:
    """Each fault of the scene with its variant; None: in both."""
    return [
        (method.to_fault(), variant)
        for method in scene.faults
        for variant in method.variants or (None,)
    ]


LECTURE_FILE = FileType("a lecture", ScenarioError)


def read_lecture(path: Path) -> Lecture:
    """Read a lecture; raises ScenarioError with one sentence for each problem."""
    return read_model(Lecture, path, LECTURE_FILE)


def is_lecture(name: str) -> bool:
    """Whether this names a TOML file with scenes. Raises ScenarioError if it is no TOML."""
    path = Path(name)
    if path.suffix != ".toml" or not path.is_file():
        return False
    return "scene" in read_toml(path, LECTURE_FILE)[0]
