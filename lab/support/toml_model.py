"""Reads a TOML file into a model, or says in sentences what is wrong with the file.

The reader of these sentences wrote the file a minute ago. So all problems are reported at once,
each with its key, with what was seen, and with what was expected.

Python's TOML parser does not give the line of a key, so `line_of` searches the text for it.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lab.support.text import did_you_mean

# ── The line of a key

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]\[]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_QUOTES = ('"""', "'''")


def line_of(text: str, key: str) -> int | None:
    """The line, from 1, of `key` (as `load.rate`, `method 2 fault`), or of the table that holds it.

    None if the text has neither.
    """
    wanted = re.split(r"[. ]", key)
    best, found = 0, None
    for number, place in _places(text):
        alike = 0
        while alike < min(len(wanted), len(place)) and wanted[alike] == place[alike]:
            alike += 1
        # A match: one key is a prefix of the other. The first of the longest matches counts.
        if alike > best and (alike == len(place) or alike == len(wanted)):
            best, found = alike, number
    return found


def _places(text: str) -> list[tuple[int, list[str]]]:
    """Each line that begins a table or a key, with its full key: `["method", "2", "fault"]`."""
    places: list[tuple[int, list[str]]] = []
    table: list[str] = []
    counts: dict[str, int] = {}
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        was_inside = inside
        inside = _quote_left_open(line, inside)
        if was_inside:
            continue
        if header := _HEADER.match(line):
            table = _parts(header[2])
            if header[1] == "[[":
                counts[header[2]] = counts.get(header[2], 0) + 1
                table.append(str(counts[header[2]]))
            places.append((number, table))
        elif key := _KEY.match(line):
            places.append((number, [*table, *_parts(key[1])]))
    return places


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def _quote_left_open(line: str, inside: str) -> str:
    """The triple quotes that are open at the end of the line; "" for none."""
    at = 0
    while True:
        marks = [inside] if inside else _QUOTES
        found = [(line.find(mark, at), mark) for mark in marks if line.find(mark, at) >= 0]
        if not found:
            return inside
        at, mark = min(found)
        at += len(mark)
        inside = "" if inside else mark


# ── Models

_Model = TypeVar("_Model", bound=BaseModel)


class FileError(ValueError):
    """A file that can't be used. `problems` has a sentence for each thing to correct.

    The error's text has a line for each problem: the file, its line if known, the sentence.
    """

    def __init__(self, path: Path, problems: list[str], text: str = "") -> None:
        self.path, self.problems = path, tuple(problems)
        lines = (line_of(text, problem.partition(":")[0]) for problem in problems)
        places = (f"{path}:{line}" if line else f"{path}" for line in lines)
        told = zip(places, problems, strict=True)
        super().__init__("\n".join(f"{place}: {problem}" for place, problem in told))


@dataclass(frozen=True)
class Kind:
    """A type of file. `whole`: what it describes, for sentences ("a scenario").

    `error`: the class of the errors. `tables`: keys that may also be tables with one key, each with
    the name of that key. `patterns`: what a text has to be, by the pattern that it must match.
    """

    whole: str
    error: type[FileError] = FileError
    tables: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)


# What was expected of a key, by pydantic's type of the error.
_MEANT = {
    "missing": "is missing",
    "float_type": "was meant to be a number",
    "int_type": "was meant to be a whole number",
    "bool_type": "was meant to be true or false",
    "literal_error": "was meant to be {expected}",
    "string_type": "was meant to be a text, in quotes",
    "tuple_type": "was meant to be a list, in square brackets",
    "dict_type": "was meant to be a table of keys and values",
    "model_type": "was meant to be a table of keys and values",
    "greater_than": "was meant to be greater than {gt:g}",
    "greater_than_equal": "was meant to be {ge:g} or more",
    "less_than_equal": "was meant to be {le:g} or less",
    "finite_number": "was meant to be a number with an end",
    "string_too_short": "was meant to hold something",
    "string_too_long": "was meant to have at most {max_length} characters",
    "too_short": "was meant to have {min_length} or more",
    "too_long": "was meant to have {max_length} or fewer",
}


def read_toml(path: Path, kind: Kind) -> tuple[dict[str, Any], str]:
    """The data of the file, and its text. Raises the kind's error."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text), text
    except OSError as error:
        raise kind.error(
            path, [f"can't be read: {error.strerror}. Is it there, and yours to read?"]
        ) from None
    except UnicodeDecodeError as error:
        raise kind.error(
            path, [f"byte {error.start} is not UTF-8. Save the file as UTF-8 text."]
        ) from None
    except (ValueError, RecursionError) as error:  # also: a number too long, a nesting too deep
        raise kind.error(
            path,
            [f"is no TOML: {error}. One line has one `key = value`; texts stand in quotes."],
        ) from None


def read_model(model: type[_Model], path: Path, kind: Kind, **given: Any) -> _Model:
    """The model that a TOML file describes, named after the file. Raises the kind's error.

    `given`: values that the file itself may not set.
    """
    data, text = read_toml(path, kind)
    given = {"name": re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-") or "mine", **given}
    if "name" in data:
        problem = f"name: {kind.whole} is named by its file; take this key out."
        raise kind.error(path, [problem], text)
    if own := [key for key in given if key in data]:
        problem = f"{own[0]}: {kind.whole} has no such key; take it out."
        raise kind.error(path, [problem], text)
    known = [name for name in _keys(model, []) if name not in given]
    if data and not set(data).intersection(known):
        begins = ", ".join(known[:3])
        problem = f"has nothing that {kind.whole} has ({begins}, …). Is it a file of another kind?"
        raise kind.error(path, [problem])
    try:
        return model.model_validate(_without_tables(data, kind.tables) | given)
    except ValidationError as error:
        found = [line for one in error.errors() for line in _sentences(model, one, kind, given)]
        raise kind.error(path, found, text) from None


def _without_tables(data: Mapping[str, Any], tables: Mapping[str, str]) -> dict[str, Any]:
    flat = dict(data)
    for key, inner in tables.items():
        if isinstance(flat.get(key), dict) and set(flat[key]) == {inner}:
            flat[key] = flat[key][inner]
    return flat


def _sentences(
    model: type[BaseModel], error: ErrorDetails, kind: Kind, given: Mapping[str, Any]
) -> list[str]:
    place = [part for part in error["loc"] if part != "[key]"]
    key = _spelled(place)
    if error["type"] == "value_error":
        lines = str(error["ctx"]["error"]).split("\n")
        return [f"{key}: {line}" if key else line for line in lines]
    if error["type"] == "extra_forbidden":
        holder = _spelled(place[:-1]) or kind.whole
        known = [name for name in _keys(model, place[:-1]) if name not in given]
        return [f"{key}: {holder} has no such key. {did_you_mean(str(place[-1]), known)}"]
    around = error.get("ctx", {})
    if error["type"] == "string_pattern_mismatch":
        meant = f"was meant to {kind.patterns.get(around['pattern'], 'look otherwise')}"
    else:
        meant = _MEANT.get(error["type"], "is wrong: " + error["msg"].lower()).format(**around)
    if error["type"] == "missing":
        return [f"{key}: {meant}. Give it a value."]
    if key in kind.tables and isinstance(error["input"], dict):
        return [f"{key}: as a table it has one key, {kind.tables[key]!r}, and nothing else."]
    return [f"{key}: saw {_short(error['input'])}; it {meant}."]


def _spelled(place: list[int | str]) -> str:
    """`["expect", 0, "that"]` in the words of an error, counted from 1: `expect 1 that`.

    Keys of tables are joined by dots.
    """
    text = ""
    for part in place:
        counted = isinstance(part, int)
        after_number = bool(text) and text[-1].isdigit() and " " in text
        text += f" {part + 1}" if isinstance(part, int) else f"{' ' if after_number else '.'}{part}"
        text = text if counted or text[0] != "." else text[1:]
    return text


def _keys(model: type[BaseModel], place: list[int | str]) -> list[str]:
    """The known keys at a place, found through the model's annotations."""
    at: type[BaseModel] | None = model
    for part in place:
        if at is None or not isinstance(part, str) or part not in at.model_fields:
            continue
        at = next(_models_in(at.model_fields[part].annotation), None)
    return list(at.model_fields) if at else []


def _models_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
