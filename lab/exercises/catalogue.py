"""Which exercises there are, in the order in which to do them, and how one begins."""

from importlib.resources import files
from pathlib import Path

from lab.exercises.checks import breaker, idempotent, outbox, starving, timeout
from lab.exercises.exercise import Exercise

EXERCISES: dict[str, Exercise] = {
    one.EXERCISE.name: one.EXERCISE for one in (timeout, breaker, idempotent, outbox, starving)
}

NOTE = "exercise.txt"
"""Says in the student's folder which exercise it is."""

_AS_DATA = ".txt"
"""Behind the names of the files in `start/`: a file to be mended is no module of the lab."""


class NotThere(ValueError):
    """There is no such exercise, or the folder holds none; the message says what to do."""


def find(name: str) -> Exercise:
    """Raises NotThere."""
    if name not in EXERCISES:
        raise NotThere(f"There is no exercise {name!r}. There are: {', '.join(EXERCISES)}.")
    return EXERCISES[name]


def start(name: str, folder: Path) -> list[Path]:
    """Write the files of an exercise into a folder, made if need be. Raises NotThere, OSError."""
    exercise = find(name)
    beginning = files("lab.exercises").joinpath("start", exercise.name)
    texts = {
        one.name.removesuffix(_AS_DATA): one.read_text("utf-8")
        for one in sorted(beginning.iterdir(), key=lambda one: one.name)
    }
    texts[NOTE] = f"{exercise.name}\n"
    if taken := [one for one in texts if (folder / one).exists()]:
        raise NotThere(
            f"{folder} has a {taken[0]} already, and it stays as it is. Choose another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text, "utf-8")
    return [folder / file for file in texts]


def begun_in(folder: Path) -> tuple[Exercise, Path]:
    """The exercise in a student's folder, and the student's file. Raises NotThere."""
    note = folder / NOTE
    if not note.is_file():
        raise NotThere(
            f"{folder} holds no exercise: it has no {NOTE}. "
            f"Begin one with: lab exercise start {next(iter(EXERCISES))} {folder}"
        )
    exercise = find(note.read_text("utf-8", errors="replace").strip()[:40])
    file = folder / exercise.file
    if not file.is_file():
        raise NotThere(f"{folder} has no {exercise.file}, the file that {exercise.name} is about.")
    return exercise, file
