"""The result: everything one run measured, as one JSON document.

Scripts, graders and notebooks read this document, so it only ever grows: keys may be added, none
is renamed or taken away. For the same reason every later key has a default (an old document still
loads) and unknown keys are kept (a newer document survives being read and saved).

A figure that was not measured is `None`, never 0: nothing sent is not the same as nothing failed.
"""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab.scenarios.answers import Endpoint as Endpoint
from lab.scenarios.answers import FailedAfter as FailedAfter
from lab.scenarios.answers import Latency as Latency
from lab.scenarios.answers import PhaseFigures as PhaseFigures
from lab.scenarios.answers import Visible as Visible
from lab.scenarios.certainty import Difference, NoiseFloor, OneRun
from lab.scenarios.footprint import Footprint
from lab.scenarios.guessed import Guess
from lab.scenarios.hearing import ConsumerLag, Newcomer
from lab.scenarios.stages import Timeline
from lab.scenarios.theory import Prediction

Verdict = Literal["holds", "fails", "not measured"]

SCHEMA: Literal["lab.result/1"] = "lab.result/1"
ENDPOINTS = ("read_feed", "create_post", "create_comment")
FOREIGN = "foreign"
"""The arrangement of somebody else's system."""

AT_ONCE = ("comment_at_once", "look_at_once")
"""What an author does the moment a post is answered, where a scenario wants it."""


class ResultError(ValueError):
    """A result document that can't be read; the message says what to try."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow", populate_by_name=True)


class Data(_Model):
    """What the checker found when it compared the acknowledged writes with what is held.

    `unknown` writes got neither a yes nor a sure no (a timeout, say); of those `unknown_kept` were
    done all the same. None: it could not be known, for only the feed could be asked.
    """

    acknowledged: int
    visible: int
    lost: int
    duplicated: int
    unsettled: int
    undecided: int | None = Field(
        default=0, description="comments that their owner still holds pending"
    )
    diverged: int | None = Field(
        default=0, description="writes that one service has and another misses, or tells otherwise"
    )
    out_of_order: int | None = Field(
        default=0, description="writes shown before one that was acknowledged before they were sent"
    )
    resurrected: int = Field(
        default=0, description="writes the feed showed, then did not show, and has in the end"
    )
    refused_kept: int = 0
    unknown: int = 0
    unknown_kept: int = 0
    orphaned: int | None = Field(
        default=0, description="comments not acknowledged, judged, and not there"
    )
    visible_ms: Visible = Visible()


class SidecarCost(_Model):
    """What the sidecar before a service of somebody else's adds to a request for the feed (ms, p50
    of `asked` questions with and without it). `kib`: the size of the service's own answer."""

    asked: int
    without_ms: float
    with_ms: float
    kib: float = 0.0


class FaultProof(_Model):
    """A fault and the evidence that it acted."""

    kind: str
    target: str
    acted: bool
    phase: str | None = None
    evidence: dict[str, Any] = {}


class ReachedIn(_Model):
    """A service was started on another one's database. `owner`: `running` or `gone`, then."""

    who: str
    into: str
    owner: str
    refused: bool
    says: str = ""


class Variant(_Model):
    """One arrangement, under its load and its faults. `recovery_seconds`: None is "never"."""

    name: str
    arrangement: str
    options: dict[str, Any] = {}
    phases: dict[str, PhaseFigures] = {}
    data: Data | None = None
    recovery_seconds: float | None = None
    faults: list[FaultProof] = []
    ended: list[str] = Field(default=[], description="targets that ended by themselves, unhurt")
    notes: list[str] = []
    lag: dict[str, ConsumerLag] = Field(default={}, description="by consumer, where it has numbers")
    newcomers: list[Newcomer] = []
    databases: dict[str, list[str]] | None = Field(
        default=None, description="files open in each process in the middle of `during`"
    )
    database_owners: dict[str, str] = Field(default={}, description="by file: as the file says")
    reached_in: list[ReachedIn] = []
    asked: dict[str, list[str]] = Field(
        default={}, description="by service: whom it asked, as seen"
    )
    on_the_bus: list[str] = Field(default=[], description="services that were seen to tell or hear")
    asks: dict[str, dict[str, dict[str, int]]] | None = Field(
        default=None, description="by service, by whom it asked: what became of its questions"
    )
    given_up: int | None = Field(
        default=None, description="requests that were not begun, for nobody waited any more"
    )
    stuck: dict[str, str] | None = Field(
        default=None, description="by service: the event it could not get past, in the end"
    )
    dead_letters: dict[str, int] | None = Field(
        default=None, description="by service: events that were laid aside"
    )
    sidecar: SidecarCost | None = Field(
        default=None, description="where the services are not the lab's"
    )
    footprint: Footprint | None = Field(
        default=None, description="processes and memory in the middle of `during`"
    )


class Lag(_Model):
    """Milliseconds between the moment a request was due and the moment it was sent."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


class Load(_Model):
    """How well the load generator kept its own promise."""

    lag_ms: Lag = Lag()
    late: int = 0
    dropped: int = 0
    cpu_share: float | None = Field(default=None, description="of one core, 0 to 1")
    machine_share: float | None = Field(
        default=None, description="of all processors' time, taken by whomever, 0 to 1"
    )
    probes: dict[str, int] = Field(default={}, description="feed probes by variant: load, too")


class Expectation(_Model):
    """What was expected, what was measured, and whether one bears out the other."""

    says: str
    claim: str | None = None
    that: str = ""
    verdict: Verdict
    expected: str | None = None
    measured: float | None = None
    values: dict[str, float | None] = {}


class Result(_Model):
    """One run of one scenario, or several of them together."""

    schema_: Literal["lab.result/1"] = Field(default=SCHEMA, alias="schema")
    scenario: str
    title: str = ""
    question: str = ""
    explain: str = ""
    seed: int
    quick: bool = False
    started: str
    environment: dict[str, Any] = {}
    valid: bool = True
    problems: list[str] = []
    load: Load = Load()
    variants: list[Variant]
    expectations: list[Expectation] = []
    predictions: list[Prediction] = []
    guesses: list[Guess] = Field(default=[], description="what somebody said before the run")
    isolated: bool = False
    timeline: Timeline = Timeline()
    repeats: int = Field(default=1, description="the figures are of all valid `runs` together")
    runs: list[OneRun] = []
    differences: list[Difference] = []
    noise_floor: NoiseFloor | None = None

    @property
    def exit_code(self) -> int:
        """0: every expectation holds; 1: one does not, or could not be measured; 3: not honest."""
        if not self.valid:
            return 3
        return 0 if all(one.verdict == "holds" for one in self.expectations) else 1

    def variant(self, name: str) -> Variant | None:
        """The variant of that name, if the run had one."""
        return next((variant for variant in self.variants if variant.name == name), None)

    def to_json(self) -> str:
        """The document, ending in a newline."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    def save(self, path: Path) -> None:
        """Write the document for its owner's eyes only (0600), whole or not at all."""
        partial = path.with_name(path.name + ".part")
        partial.unlink(missing_ok=True)
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as out:
            out.write(self.to_json())
        partial.replace(path)

    @classmethod
    def load_file(cls, path: Path) -> Self:
        """Read a document; raises ResultError with a sentence when it isn't one."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ResultError(
                f"{path}: can't be read ({error.strerror}). "
                "A run keeps its result in runs/<time>-<scenario>/result.json."
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the document"
            raise ResultError(
                f"{path}: not a {SCHEMA} document: {where}: {first['msg'].lower()}. "
                "Was it written by `lab run`, and to its end?"
            ) from None
