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

Verdict = Literal["holds", "fails", "not measured"]

SCHEMA: Literal["lab.result/1"] = "lab.result/1"
ENDPOINTS = ("read_feed", "create_post", "create_comment")
AT_ONCE = ("comment_at_once", "look_at_once")
"""What an author does the moment a post is answered, where a scenario wants it."""


class ResultError(ValueError):
    """A result document that can't be read; the message says what to try."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow", populate_by_name=True)


class Visible(_Model):
    """Milliseconds from the intended moment of a write to the feed that showed it as decided."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


class FailedAfter(_Model):
    """Milliseconds from the intended moment of a request to its failure: how long one waited."""

    p50: float | None = None


class Latency(_Model):
    """Milliseconds from the *intended* moment of a request to its answer; good answers only."""

    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    mean: float | None = None


class Endpoint(_Model):
    """What happened to one kind of request in one phase."""

    sent: int
    ok: int
    failed: int
    late: int = 0
    dropped: int = 0
    success: float | None = Field(default=None, description="ok / sent; None when nothing was sent")
    errors: dict[str, int] = {}
    latency_ms: Latency = Latency()
    failed_after_ms: FailedAfter = FailedAfter()
    visible_ms: Visible | None = Field(default=None, description="writes the feed showed, only")
    never_visible: int = 0


class PhaseFigures(_Model):
    """One phase: how long it was, and its requests by kind."""

    seconds: float
    endpoints: dict[str, Endpoint] = {}


class Data(_Model):
    """What the checker found when it compared the acknowledged writes with what is held.

    `unknown` writes got neither a yes nor a sure no (a timeout, say); of those `unknown_kept` were
    done all the same.
    """

    acknowledged: int
    visible: int
    lost: int
    duplicated: int
    unsettled: int
    undecided: int = Field(default=0, description="comments that their owner still holds pending")
    diverged: int = Field(
        default=0, description="comments of which their owner says one thing, the feed another"
    )
    refused_kept: int = 0
    unknown: int = 0
    unknown_kept: int = 0
    visible_ms: Visible = Visible()


class FaultProof(_Model):
    """A fault and the evidence that it acted."""

    kind: str
    target: str
    acted: bool
    phase: str | None = None
    evidence: dict[str, Any] = {}


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
    """One run of one scenario."""

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
