"""The exercises, in the order in which to do them, and the start of one in a folder."""

from importlib.resources import files
from pathlib import Path

from lab.exercises.checks import breaker, idempotent, likes, outbox, rebuild, starving, timeout
from lab.exercises.exercise import Exercise
from lab.support.text import shell_word

EXERCISES: dict[str, Exercise] = {
    check.EXERCISE.name: check.EXERCISE
    for check in (timeout, breaker, idempotent, outbox, likes, starving, rebuild)
}

MARKER_FILE = "exercise.txt"
"""The file in the student's folder that names the exercise."""

_DATA_SUFFIX = ".txt"
"""The suffix of the files in `start/`: a faulty file must not be a module of the lab."""


class ExerciseNotFound(ValueError):
    """There is no such exercise, or the folder holds none; the message says what to do."""


def find(name: str) -> Exercise:
    """The exercise of this name. Raises ExerciseNotFound."""
    if name not in EXERCISES:
        raise ExerciseNotFound(f"There is no exercise {name!r}. There are: {', '.join(EXERCISES)}.")
    return EXERCISES[name]


def start(name: str, folder: Path) -> list[Path]:
    """Write the files of an exercise into a folder, which is created if missing.

    Returns their paths. Raises ExerciseNotFound, also if one of the files exists; OSError.
    """
    exercise = find(name)
    template = files("lab.exercises").joinpath("start", exercise.name)
    texts = {
        file: template.joinpath(file + suffix).read_text("utf-8")
        for file, suffix in (("README.md", ""), *((file, _DATA_SUFFIX) for file in exercise.files))
    }
    texts[MARKER_FILE] = f"{exercise.name}\n"
    if existing := [file for file in texts if (folder / file).exists()]:
        raise ExerciseNotFound(
            f"{folder} has a {existing[0]} already, and it stays as it is. Choose another folder."
        )
    for file, text in texts.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, "utf-8")
    return [folder / file for file in texts]


def exercise_in(folder: Path, name: str = "") -> Exercise:
    """The exercise in a student's folder, which has all its files. Raises ExerciseNotFound.

    With a `name`, the folder's own word about its exercise is neither needed nor read.
    """
    marker = folder / MARKER_FILE
    if not name and not marker.is_file():
        raise ExerciseNotFound(
            f"{folder} holds no exercise: it has no {MARKER_FILE}. "
            f"Begin one with: lab exercise start {next(iter(EXERCISES))} {shell_word(folder)}"
        )
    exercise = find(name or marker.read_text("utf-8", errors="replace").strip()[:40])
    for file in exercise.files:
        if not (folder / file).is_file():
            raise ExerciseNotFound(f"{folder} has no {file}, which {exercise.name} is about.")
    return exercise
