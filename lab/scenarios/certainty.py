"""What a result says of how sure it is: its runs, the noise of the machine, what differs at all.

Parts of the result's document, as `lab.scenarios.result` has it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

ASSUMED_NOISE = 0.15
"""The noise floor before one was measured: two identical servers were seen to differ by 12 %."""

Shown = Literal["slower", "faster", "no difference shown"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")


class NoiseFloor(_Part):
    """By how much two equal things differ on this machine.

    `share`: two medians nearer than this (0.07: 7 %) may be equal. `runs`: of how many runs of
    `calm` it is made, 0 if it is assumed; `newest`: when the last of these began.
    """

    share: float = ASSUMED_NOISE
    runs: int = 0
    newest: str | None = None

    def is_passed_by(self, ratio: float) -> bool:
        """Whether a ratio is further from 1 than noise is, either way."""
        return max(ratio, 1 / ratio) - 1 > self.share


class Difference(_Part):
    """How many times as long as in `against` a good answer took: the ratio of the two medians.

    From `low` to `high` it may well lie: at 95 % for all differences of a result together.
    """

    variant: str
    against: str
    phase: str
    endpoint: str
    ratio: float
    low: float
    high: float
    verdict: Shown


class OneRun(_Part):
    """One of several runs of the same scenario. `verdicts`: of its expectations, in their order."""

    seed: int
    folder: str
    valid: bool
    verdicts: list[str] = []
    problems: list[str] = []
