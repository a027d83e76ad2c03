"""Checks of the exercises on outages (10): each searches for what was asked."""

from typing import Any

import lab
from checks import Feedback, check_set, unanswered

HISTORIES = 300


def reaching(answer: Any, goal: str, among: tuple[str, ...]) -> Feedback:
    """The variants in which a history reaches a goal."""
    wanted = f"the variants in which a history reaches {goal!r}"
    if answer is ...:
        return unanswered(wanted)
    found = {one for one in among if lab.search(goal, one, histories=HISTORIES).history}
    return check_set(answer, found, wanted)


def two_by_one_failure(answer: Any, variant: str) -> Feedback:
    """A goal whose smallest history loses exactly two acknowledged writes to one failure."""
    wanted = "a goal whose smallest history has one failure and two missing writes"
    if answer is ...:
        return unanswered(wanted)
    if not isinstance(answer, str):
        return Feedback(False, f"{answer!r}, which is not a text", wanted)
    try:
        found = lab.search(answer, variant, histories=HISTORIES)
    except ValueError as error:
        return Feedback(False, str(error), wanted)
    if found.history is None:
        return Feedback(False, found.sentence, wanted)
    failures = [one for one in found.history.deeds if not one.write and one.kind != "read"]
    missing = found.history.verdict.figures["missing"]
    seen = f"{'; '.join(found.deeds)}: failures {len(failures)}, missing {missing:g}"
    return Feedback((len(failures), missing) == (1, 2), seen, wanted)
