"""What the lists of the command line hold, as JSON values for `--json`. Keys may only be added."""

from collections.abc import Sequence
from typing import Any

from lab.report.terminal.listing import judged_by, length_s
from lab.results.claims import CLAIMS
from lab.results.result import Expectation, RunResult
from lab.scenarios.names import stage_of, theme_of
from lab.scenarios.scenario import Scenario


def scenarios_data(scenarios: Sequence[Scenario]) -> dict[str, Any]:
    """`lab list`: a summary of each scenario."""
    return {"schema": "lab.scenarios/1", "scenarios": [_summary(one) for one in scenarios]}


def scenario_data(scenario: Scenario) -> dict[str, Any]:
    """`lab show`: the summary, and the question, load, variants, faults and expectations.

    Times in seconds; `rate` in arrivals per second.
    """
    timeline = scenario.timeline()
    return {
        "schema": "lab.scenario/1",
        **_summary(scenario),
        "question": " ".join(scenario.question.split()),
        "load": scenario.load.model_dump(mode="json"),
        "variants": {
            name: {"arrangement": spec.arrangement or name, "options": spec.options}
            for name, spec in scenario.variants.items()
        },
        "phases": [
            {
                "name": phase.name,
                "seconds": phase.seconds,
                "faults": [
                    {
                        "kind": window.fault.kind,
                        "target": window.fault.target,
                        "settings": window.fault.settings(),
                        "description": window.fault.description,
                    }
                    for window in phase.faults
                ],
            }
            for phase in timeline.phases
        ],
        "expectations": [one.model_dump(mode="json") for one in scenario.expect],
        "predictions": [one.model_dump(mode="json") for one in scenario.predict],
    }


def _summary(scenario: Scenario) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "title": scenario.title,
        "stage": stage_of(scenario.name),
        "theme": theme_of(scenario.name),
        "tags": list(scenario.tags),
        "claims": list(scenario.claims),
        "seconds": length_s(scenario),
        "quick_seconds": length_s(scenario.quick()),
    }


def claims_data(scenarios: Sequence[Scenario], results: Sequence[RunResult]) -> dict[str, Any]:
    """`lab claims`: for each claim the scenarios that test it, and what their newest valid runs
    measured; `measured` is null for a scenario without one. `results`: newest first."""
    claims = []
    for claim in CLAIMS.values():
        tested_by = []
        for scenario in scenarios:
            if claim.id in scenario.claims:
                run, judged = judged_by(claim.id, scenario.name, results)
                measured = run and {
                    "started": run.started,
                    "seed": run.seed,
                    "quick": run.quick,
                    "expectations": [_expectation(one) for one in judged],
                }
                tested_by.append({"scenario": scenario.name, "measured": measured})
        claims.append(
            {
                "id": claim.id,
                "says": claim.says,
                "refuted_by": claim.refuted_by,
                "tested_by": tested_by,
            }
        )
    return {"schema": "lab.claims/1", "claims": claims}


def _expectation(expectation: Expectation) -> dict[str, Any]:
    return {
        "says": expectation.says,
        "that": expectation.that,
        "verdict": expectation.verdict,
        "values": expectation.values,
    }
