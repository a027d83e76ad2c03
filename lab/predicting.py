"""`lab run … --predict`: asks, on a terminal, what somebody thinks will come out.

Questions go to stderr and answers come from stdin, so that stdout stays the result's alone. An
answer that can't be meant is asked for again; Enter alone passes a question over.
"""

import shutil
import sys
import textwrap
from typing import Any

from lab.terminal import fail

_NOBODY_THERE = (
    "--predict asks questions, and nobody is there to answer: the input has ended. "
    'In a script or a notebook: lab.run("…", predict={"fails": "sync-chain"})'
)


def ask(scenario: Any) -> list[Any]:
    """The guesses of whoever sits there; ends the program when nobody does."""
    from lab.scenarios import guesses
    from lab.scenarios.questions import GuessError, questions

    found: list[Any] = []
    if scenario.question.strip():
        _tell(f"{scenario.title}\n\n{' '.join(scenario.question.split())}\n")
    _tell("What do you think? Enter alone leaves a question out.")
    for number, question in enumerate(questions(scenario), 1):
        _tell(f"\n{number}. {question.asks}\n   (Expected: {question.meant}.)")
        for variant in ("",) if question.kind == "who" else question.variants:
            while True:
                answer = _line(f"   {variant}> " if variant else "   > ")
                if not answer:
                    break
                try:
                    found.append(guesses.guess(question, variant, answer))
                    break
                except GuessError as error:
                    _tell(f"   {error}")
    _tell("")
    return found


def _tell(text: object) -> None:
    from lab.report.text import plain

    width = min(shutil.get_terminal_size().columns, 80)
    for line in str(text).split("\n"):
        indent = " " * (len(line) - len(line.lstrip(" ")))
        words = textwrap.wrap(
            plain(line), width - 1, initial_indent=indent, subsequent_indent=indent
        )
        sys.stderr.write("\n".join(words) + "\n")


def _line(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        return "?"  # No letters at all: as good as any other answer that can't be meant.
    if not line:
        fail(f"\n{_NOBODY_THERE}", 2)
    return line.strip()
