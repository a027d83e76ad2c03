"""A plugin for pytest: `pytest --lab-exercise mine/` checks an exercise.

Each criterion is a test. The check runs once for each folder, when its first test does, on a copy
and in a separate lab; pytest imports nothing from the folder. The lab is imported only when the
option is given: pytest loads this file in every project.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab.exercises.batch import FolderGrade
    from lab.exercises.exercise import GradedCriterion

OPTION = "--lab-exercise"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sync-async-lab")
    group.addoption(
        OPTION,
        action="append",
        default=[],
        metavar="DIR",
        help="check the exercise in this folder, one test for each criterion (may be repeated)",
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """With the option alone, the tests of the current folder are not collected."""
    if config.getoption(OPTION) and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the criteria; first, so that -k and -m choose among them, too."""
    for folder in config.getoption(OPTION):
        items += _Folder.from_parent(session, name=folder).collect()


class _Folder(pytest.Collector):
    """A student's folder."""

    _grade: "FolderGrade | None" = None

    def __init__(self, name: str, parent: Any, **more: Any) -> None:
        super().__init__(name, parent, nodeid=name, **more)
        self.folder = parent.config.invocation_params.dir / name

    def collect(self) -> Iterator["_CriterionItem"]:
        from lab.exercises.catalogue import ExerciseNotFound, exercise_in

        try:
            criteria = exercise_in(self.folder).criteria
        except ExerciseNotFound as error:
            raise pytest.UsageError(str(error)) from None
        for criterion in criteria:
            yield _CriterionItem.from_parent(self, name=criterion.key, criterion=criterion)

    def grade(self) -> "FolderGrade":
        """The grade of the folder; the first call takes it."""
        import asyncio

        from lab.exercises.batch import grade_folders

        if self._grade is None:
            (self._grade,) = asyncio.run(grade_folders([Path(self.folder)]))
        return self._grade


class NotPassed(Exception):
    """A criterion is not met; the message says what was seen and wanted."""


class _CriterionItem(pytest.Item):
    """One criterion."""

    parent: _Folder

    def __init__(self, criterion: "GradedCriterion", **more: Any) -> None:
        super().__init__(**more)
        self.criterion = criterion

    def setup(self) -> None:
        """Take the grade here: what is not the student's fault is an error and no failure."""
        if problem := self.parent.grade().problem:
            raise NotPassed(problem)

    def runtest(self) -> None:
        from lab.exercises.formats import explain

        grade = self.parent.grade().grade
        assert grade is not None
        (result,) = (one for one in grade.results if one.criterion == self.criterion)
        if not result.passed:
            seen = explain(result) if result.tested or not grade.trouble else ""
            raise NotPassed("\n".join(filter(None, (grade.trouble, seen, *grade.log))))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, NotPassed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return Path(self.parent.folder), None, f"{self.parent.name}: {self.criterion.requirement}"
