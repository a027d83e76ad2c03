"""The exercises, in the order in which to do them, and the start of one in a folder."""

from importlib.resources import files
from pathlib import Path

from lab.exercises.checks import breaker, idempotent, likes, outbox, rebuild, starving, timeout
from lab.exercises.exercise import Exercise

EXERCISES: dict[str, Exercise] = {
    one.EXERCISE.name: one.EXERCISE
    for one in (timeout, breaker, idempotent, outbox, likes, starving, rebuild)
}

NOTE = "exercise.txt"
"""The file in the student's folder that names the exercise."""

_AS_DATA = ".txt"
"""The suffix of the files in `start/`: a faulty file must not be a module of the lab."""


class NotThere(ValueError):
    """There is no such exercise, or the folder holds none; the message says what to do."""


def find(name: str) -> Exercise:
    """The exercise of this name. Raises NotThere."""
    if name not in EXERCISES:
        raise NotThere(f"There is no exercise {name!r}. There are: {', '.join(EXERCISES)}.")
    return EXERCISES[name]


def start(name: str, folder: Path) -> list[Path]:
    """Write the files of an exercise into a folder, which is created if missing.

    Returns their paths. Raises NotThere, also if one of the files exists; OSError.
    """
    exercise = find(name)
    beginning = files("lab.exercises").joinpath("start", exercise.name)
    texts = {
        file: beginning.joinpath(file + as_data).read_text("utf-8")
        for file, as_data in (("README.md", ""), *((file, _AS_DATA) for file in exercise.files))
    }
    texts[NOTE] = f"{exercise.name}\n"
    if taken := [one for one in texts if (folder / one).exists()]:
        raise NotThere(
            f"{folder} has a {taken[0]} already, and it stays as it is. Choose another folder."
        )
    for file, text in texts.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, "utf-8")
    return [folder / file for file in texts]


def begun_in(folder: Path) -> Exercise:
    """The exercise in a student's folder, which has all its files. Raises NotThere."""
    note = folder / NOTE
    if not note.is_file():
        raise NotThere(
            f"{folder} holds no exercise: it has no {NOTE}. "
            f"Begin one with: lab exercise start {next(iter(EXERCISES))} {folder}"
        )
    exercise = find(note.read_text("utf-8", errors="replace").strip()[:40])
    for file in exercise.files:
        if not (folder / file).is_file():
            raise NotThere(f"{folder} has no {file}, which {exercise.name} is about.")
    return exercise
