"""What theory said of a run: a part of the result's document, as `lab.scenarios.result` has it."""

from pydantic import BaseModel, ConfigDict


class Prediction(BaseModel):
    """What theory said, and what was measured.

    `deviation` is (measured − predicted) / predicted; `agrees`: within `within` of it. `answer`
    is why theory says nothing about what was measured, where it doesn't.
    """

    model_config = ConfigDict(extra="allow")

    says: str
    predicted: float | None = None
    measured: float | None = None
    deviation: float | None = None
    within: float = 0.1
    agrees: bool | None = None
    because: str = ""
    predicted_by: str = ""
    measured_as: str = ""
    answer: str = ""
