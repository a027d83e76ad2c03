"""What somebody said before a run: a part of the result's document, as what theory said is."""

from lab.scenarios.hearing import Part

NEVER = "never"
"""Instead of a number of milliseconds: not one is answered."""

NOBODY = "nobody"


class Guess(Part):
    """One answer given before the run, and what was measured and what theory said of the same.

    `variant`: of whom a number was asked; "" where the question is about all of them. A choice is
    the names of variants, in the scenario's order. `hit`: whether the guess was good: the same
    names, the same count, or milliseconds within a factor of two; None where nothing was measured.
    """

    question: str
    asks: str
    variant: str = ""
    unit: str = ""
    guessed: float | str
    measured: float | str | None = None
    theory: float | None = None
    theory_by: str = ""
    hit: bool | None = None
