"""A verdict in other formats: JSON, JUnit XML, Gradescope's results.json, and sentences."""

import textwrap
from collections.abc import Mapping
from typing import Any

from lab.exercises.exercise import CriterionResult, Exercise, Grade
from lab.support.junit import JUnitCase, JUnitSuite, render_suites

WIDTH = 80
_INDENT = " " * 9


def to_json(grade: Grade) -> dict[str, Any]:
    """The verdict as `--json` prints it; times in seconds."""
    return {
        "exercise": grade.exercise,
        "passed": grade.passed,
        "score": grade.score,
        "max_score": grade.max_score,
        "seconds": round(grade.seconds, 2),
        "trouble": grade.trouble,
        "checks": [
            {
                "name": step.criterion.key,
                "passed": step.passed,
                "points": step.criterion.points,
                "wanted": step.criterion.requirement,
                "seen": step.observed,
                "tested": step.tested,
                "hint": "" if step.passed else step.criterion.hint,
            }
            for step in grade.results
        ],
        "log": list(grade.log),
    }


def from_json(document: Mapping[str, Any], exercise: Exercise) -> Grade:
    """The grade that `to_json` gave this document. Raises KeyError, TypeError."""
    criteria = {criterion.key: criterion for criterion in exercise.criteria}
    return Grade(
        exercise.name,
        tuple(
            CriterionResult(criteria[step["name"]], step["passed"], step["seen"], step["tested"])
            for step in document["checks"]
        ),
        document["seconds"],
        document["trouble"],
        tuple(document["log"]),
    )


def to_junit(grade: Grade) -> str:
    """JUnit XML: a test case for each criterion."""
    return render_suites(junit_suite(grade, f"lab exercise {grade.exercise}"))


def junit_suite(grade: Grade, name: str) -> JUnitSuite:
    """The suite of a grade under this name."""
    cases = [
        JUnitCase(step.criterion.key)
        if step.passed
        else JUnitCase(step.criterion.key, step.observed, explain(step))
        for step in grade.results
    ]
    error = JUnitCase("the program", grade.trouble, "\n".join(grade.log))
    return JUnitSuite(
        *(name, grade.exercise, cases, grade.seconds), [error] if grade.trouble else []
    )


def to_gradescope(grade: Grade) -> dict[str, Any]:
    """What Gradescope reads from /autograder/results/results.json
    (gradescope-autograders.readthedocs.io/en/latest/specs)."""
    output = [grade.trouble, *grade.log] if grade.trouble else []
    return {
        "output": "\n".join(output),
        "execution_time": round(grade.seconds),
        "visibility": "visible",
        "tests": [
            {
                "name": step.criterion.requirement,
                "score": step.criterion.points if step.passed else 0,
                "max_score": step.criterion.points,
                "status": "passed" if step.passed else "failed",
                "output": "" if step.passed else explain(step),
            }
            for step in grade.results
        ],
    }


def to_text(grade: Grade, exercise: Exercise) -> list[str]:
    """The verdict for people: what was seen and, if it failed, what was wanted and a hint."""
    lines = [exercise.title, ""]
    for step in grade.results:
        label = "ok     " if step.passed else "not yet"
        lines += _wrap(step.criterion.requirement, f"{label}  ")
        if not step.passed:
            lines += _wrap(f"Seen: {step.observed}.")
            if step.tested:
                lines += _wrap(f"Hint: {step.criterion.hint}")
    lines.append("")
    if grade.trouble:
        lines += textwrap.wrap(grade.trouble, WIDTH)
    if grade.log:
        lines += ["The last lines of your program's log:", *(f"  {line}" for line in grade.log)]
    files = " and ".join(exercise.files)
    last = f"{grade.score} of {grade.max_score} points, in {grade.seconds:.1f} s." + (
        " Done." if grade.passed else f" Mend {files} and check again."
    )
    return lines + textwrap.wrap(last, WIDTH)


def _wrap(text: str, first_indent: str = _INDENT) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first_indent, subsequent_indent=_INDENT)


def explain(result: CriterionResult) -> str:
    """What was seen, what is wanted, and a hint, a line each."""
    return "\n".join(
        (
            f"Seen: {result.observed}.",
            f"Wanted: {result.criterion.requirement}",
            f"Hint: {result.criterion.hint}",
        )
    )
