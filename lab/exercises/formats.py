"""A verdict in other formats: JSON, JUnit XML, Gradescope's results.json, and sentences."""

import textwrap
from typing import Any

from lab.exercises.exercise import Exercise, Step, Verdict
from lab.support.junit import Case
from lab.support.junit import junit as written

WIDTH = 80
_INDENT = " " * 9


def document(verdict: Verdict) -> dict[str, Any]:
    """The verdict as `--json` prints it; times in seconds."""
    return {
        "exercise": verdict.exercise,
        "passed": verdict.passed,
        "score": verdict.score,
        "max_score": verdict.max_score,
        "seconds": round(verdict.seconds, 2),
        "trouble": verdict.trouble,
        "checks": [
            {
                "name": step.criterion.key,
                "passed": step.passed,
                "points": step.criterion.points,
                "wanted": step.criterion.wanted,
                "seen": step.seen,
                "hint": "" if step.passed else step.criterion.hint,
            }
            for step in verdict.steps
        ],
        "log": list(verdict.log),
    }


def junit(verdict: Verdict) -> str:
    """JUnit XML: a test case for each criterion."""
    cases = [
        Case(step.criterion.key) if step.passed else Case(step.criterion.key, step.seen, _why(step))
        for step in verdict.steps
    ]
    error = Case("the program", verdict.trouble, "\n".join(verdict.log))
    return written(
        *(f"lab exercise {verdict.exercise}", verdict.exercise, cases, verdict.seconds),
        error if verdict.trouble else None,
    )


def gradescope(verdict: Verdict) -> dict[str, Any]:
    """What Gradescope reads from /autograder/results/results.json
    (gradescope-autograders.readthedocs.io/en/latest/specs)."""
    said = [verdict.trouble, *verdict.log] if verdict.trouble else []
    return {
        "output": "\n".join(said),
        "execution_time": round(verdict.seconds),
        "visibility": "visible",
        "tests": [
            {
                "name": step.criterion.wanted,
                "score": step.criterion.points if step.passed else 0,
                "max_score": step.criterion.points,
                "status": "passed" if step.passed else "failed",
                "output": "" if step.passed else _why(step),
            }
            for step in verdict.steps
        ],
    }


def sentences(verdict: Verdict, exercise: Exercise) -> list[str]:
    """The verdict for people: what was seen and, if it failed, what was wanted and a hint."""
    lines = [exercise.title, ""]
    for step in verdict.steps:
        word = "ok     " if step.passed else "not yet"
        lines += _wrapped(step.criterion.wanted, f"{word}  ")
        if not step.passed:
            lines += _wrapped(f"Seen: {step.seen}.")
            if step.looked_at:
                lines += _wrapped(f"Hint: {step.criterion.hint}")
    lines.append("")
    if verdict.trouble:
        lines += textwrap.wrap(verdict.trouble, WIDTH)
    if verdict.log:
        lines += ["The last lines of your program's log:", *(f"  {line}" for line in verdict.log)]
    files = " and ".join(exercise.files)
    last = f"{verdict.score} of {verdict.max_score} points, in {verdict.seconds:.1f} s." + (
        " Done." if verdict.passed else f" Mend {files} and check again."
    )
    return lines + textwrap.wrap(last, WIDTH)


def _wrapped(text: str, first: str = _INDENT) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=_INDENT)


def _why(step: Step) -> str:
    return "\n".join(
        (f"Seen: {step.seen}.", f"Wanted: {step.criterion.wanted}", f"Hint: {step.criterion.hint}")
    )
