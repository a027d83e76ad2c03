"""Theory beside measurement: evaluates a scenario's predictions against a result.

A prediction judges nobody. Where it is off, either the theory leaves something out that mattered,
or the machine was not calm; both are worth seeing, and neither makes a run fail.
"""

from lab.scenarios.expression import figure
from lab.scenarios.result import Result
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import Predict
from lab.scenarios.theory import Prediction


def predictions(scenario: Scenario, result: Result) -> list[Prediction]:
    """Each prediction of the scenario with its figures, in the file's order."""
    return [_beside(one, result) for one in scenario.predict]


def _beside(one: Predict, result: Result) -> Prediction:
    answer, predicted = "", None
    try:
        predicted = figure(one.predicted, result)
    except ValueError as error:
        answer = str(error)
    measured = figure(one.measured, result)
    deviation = None
    if predicted and measured is not None:
        deviation = (measured - predicted) / predicted
    return Prediction(
        says=one.says,
        predicted=predicted,
        measured=measured,
        deviation=deviation,
        within=one.within,
        agrees=None if deviation is None else abs(deviation) <= one.within,
        because=one.because,
        predicted_by=" ".join(one.predicted.split()),
        measured_as=" ".join(one.measured.split()),
        answer=answer,
    )
