"""Reads a TOML file into a model, or says in sentences what is wrong with the file.

The reader of these sentences wrote the file a minute ago. So all problems are reported at once,
each with its key, with what was seen, and with what was expected.

Python's TOML parser does not give the line of a key, so `find_key_line` searches the text for it.
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

_HEADER = re.compile(r"(\[\[?)([^\]\[]+)\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_QUOTES = ('"""', "'''")


def find_key_line(text: str, key: str) -> int | None:
    """The line, from 1, of `key` (as `load.rate`, `method 2 fault`), or of the table that holds it.

    None if the text has neither.
    """
    wanted = re.split(r"[. ]", key)
    best, line = 0, None
    for number, place in _find_keys(text):
        common = 0
        while common < min(len(wanted), len(place)) and wanted[common] == place[common]:
            common += 1
        # A match: one key is a prefix of the other. The first of the longest matches counts.
        if common > best and (common == len(place) or common == len(wanted)):
            best, line = common, number
    return line


def _find_keys(text: str) -> list[tuple[int, list[str]]]:
    """Each line that begins a table or a key, with its full key: `["method", "2", "fault"]`."""
    places: list[tuple[int, list[str]]] = []
    table: list[str] = []
    counts: dict[str, int] = {}
    open_quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        was_inside = open_quote
        open_quote = _find_open_quote(line, open_quote)
        if was_inside:
            continue
        if header := _HEADER.match(line.strip()):
            table, name = _split_key(header[2]), header[2].strip()
            if header[1] == "[[":
                counts[name] = counts.get(name, 0) + 1
                table.append(str(counts[name]))
            places.append((number, table))
        elif key := _KEY.match(line):
            places.append((number, [*table, *_split_key(key[1])]))
    return places


def _split_key(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def _find_open_quote(line: str, open_quote: str) -> str:
    """The triple quotes that are open at the end of the line; "" for none."""
    at = 0
    while True:
        marks = [open_quote] if open_quote else _QUOTES
        found = [(line.find(mark, at), mark) for mark in marks if line.find(mark, at) >= 0]
        if not found:
            return open_quote
        at, mark = min(found)
        at += len(mark)
        open_quote = "" if open_quote else mark


# ── Models

_Model = TypeVar("_Model", bound=BaseModel)


class FileError(ValueError):
    """A file that can't be used. `problems` has a sentence for each thing to correct.

    The error's text has a line for each problem: the file, its line if known, the sentence.
    """

    def __init__(self, path: Path, problems: list[str], text: str = "") -> None:
        self.path, self.problems = path, tuple(problems)
        lines = (find_key_line(text, problem.partition(":")[0]) for problem in problems)
        places = (f"{path}:{line}" if line else f"{path}" for line in lines)
        pairs = zip(places, problems, strict=True)
        super().__init__("\n".join(f"{place}: {problem}" for place, problem in pairs))


@dataclass(frozen=True)
class FileType:
    """A type of file. `label`: what a file of this type describes, for sentences ("a scenario").

    `tables`: keys that may also be tables with one key, each with the name of that key.
    `patterns`: what is expected of a text, by the pattern that it must match.
    """

    label: str
    error_class: type[FileError] = FileError
    tables: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)


# What was expected of a key, by pydantic's type of the error.
_EXPECTED = {
    "missing": "is missing",
    "float_type": "expected a number",
    "int_type": "expected a whole number",
    "bool_type": "expected true or false",
    "literal_error": "expected {expected}",
    "string_type": "expected text in quotes",
    "tuple_type": "expected a list in square brackets",
    "dict_type": "expected a table of keys and values",
    "model_type": "expected a table of keys and values",
    "greater_than": "expected greater than {gt:g}",
    "greater_than_equal": "expected {ge:g} or more",
    "less_than_equal": "expected {le:g} or less",
    "finite_number": "expected a finite number",
    "string_too_short": "expected some text",
    "string_too_long": "expected at most {max_length} characters",
    "too_short": "expected {min_length} or more",
    "too_long": "expected {max_length} or fewer",
}


MAX_FILE_BYTES = 256 * 1024
MAX_KEY_PARTS = 32
# Python's TOML parser takes minutes for a small file of keys with thousands of parts.
_LONG_KEY = re.compile(
    rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*"|'[^'\n]*')[ \t]*+\.[ \t]*+){{{MAX_KEY_PARTS}}}"""
)


def read_toml(path: Path, file_type: FileType) -> tuple[dict[str, Any], str]:
    """The data of the file, and its text. Raises the error of the file type."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise file_type.error_class(
                path,
                [
                    f"has more than {MAX_FILE_BYTES // 1024} KiB; {file_type.label} needs much "
                    "less. Is it a file of another kind?"
                ],
            )
        text = re.sub("\r\n?", "\n", content.decode("utf-8-sig"))
        if long_key := _LONG_KEY.search(text):
            line = text.count("\n", 0, long_key.start()) + 1
            raise file_type.error_class(
                path, [f"line {line} has a key with more than {MAX_KEY_PARTS} parts. Shorten it."]
            )
        return tomllib.loads(text), text
    except FileError:
        raise
    except OSError as error:
        raise file_type.error_class(
            path, [f"can't be read: {error.strerror}. Does it exist, and may you read it?"]
        ) from None
    except UnicodeDecodeError as error:
        raise file_type.error_class(
            path, [f"byte {error.start} is not UTF-8. Save the file as UTF-8 text."]
        ) from None
    except (ValueError, RecursionError) as error:  # also: a number too long, a nesting too deep
        raise file_type.error_class(
            path,
            [f"is not valid TOML: {error}. Each line has one `key = value`, with text in quotes."],
        ) from None


def read_model(model: type[_Model], path: Path, file_type: FileType, **preset: Any) -> _Model:
    """The model that a TOML file describes, named after the file. Raises the file type's error.

    `preset`: values that the file itself may not set.
    """
    data, text = read_toml(path, file_type)
    preset = {"name": re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-") or "mine", **preset}
    if "name" in data:
        problem = f"name: {file_type.label} is named by its file. Remove this key."
        raise file_type.error_class(path, [problem], text)
    if forbidden := [key for key in preset if key in data]:
        problem = f"{forbidden[0]}: {file_type.label} has no such key. Remove it."
        raise file_type.error_class(path, [problem], text)
    known = [name for name in _known_keys(model, []) if name not in preset]
    if data and not set(data).intersection(known):
        begins = ", ".join(known[:3])
        problem = (
            f"has nothing that {file_type.label} has ({begins}, …). Is it a file of another kind?"
        )
        raise file_type.error_class(path, [problem])
    try:
        return model.model_validate(_flatten_tables(data, file_type.tables) | preset)
    except ValidationError as error:
        problems = [
            line
            for detail in error.errors()
            for line in _describe_error(model, detail, file_type, preset)
        ]
        raise file_type.error_class(path, problems, text) from None


def _flatten_tables(data: Mapping[str, Any], tables: Mapping[str, str]) -> dict[str, Any]:
    flat = dict(data)
    for key, inner in tables.items():
        if isinstance(flat.get(key), dict) and set(flat[key]) == {inner}:
            flat[key] = flat[key][inner]
    return flat


def _describe_error(
    model: type[BaseModel], error: ErrorDetails, file_type: FileType, preset: Mapping[str, Any]
) -> list[str]:
    location = [part for part in error["loc"] if part != "[key]"]
    key = _format_location(location)
    if error["type"] == "value_error":
        lines = str(error["ctx"]["error"]).split("\n")
        return [f"{key}: {line}" if key else line for line in lines]
    if error["type"] == "extra_forbidden":
        parent = _format_location(location[:-1]) or file_type.label
        known = [name for name in _known_keys(model, location[:-1]) if name not in preset]
        return [f"{key}: {parent} has no such key. {did_you_mean(str(location[-1]), known)}"]
    context = error.get("ctx", {})
    if error["type"] == "string_pattern_mismatch":
        expected = f"expected {file_type.patterns.get(context['pattern'], 'another text')}"
    else:
        expected = _EXPECTED.get(error["type"], "is wrong: " + error["msg"].lower()).format(
            **context
        )
    if error["type"] == "missing":
        return [f"{key}: {expected}. Give it a value."]
    if key in file_type.tables and isinstance(error["input"], dict):
        return [f"{key}: as a table it has one key, {file_type.tables[key]!r}, and nothing else."]
    return [f"{key}: saw {_shorten(error['input'])}; {expected}."]


def _format_location(location: list[int | str]) -> str:
    """The place of an error for people: `["expect", 0, "that"]` is `expect 1 that`.

    Keys of tables are joined by dots.
    """
    text = ""
    for part in location:
        is_index = isinstance(part, int)
        after_number = bool(text) and text[-1].isdigit() and " " in text
        text += f" {part + 1}" if isinstance(part, int) else f"{' ' if after_number else '.'}{part}"
        text = text if is_index or text[0] != "." else text[1:]
    return text


def _known_keys(model: type[BaseModel], location: list[int | str]) -> list[str]:
    """The known keys at a place, found through the model's annotations."""
    current: type[BaseModel] | None = model
    for part in location:
        if current is None or not isinstance(part, str) or part not in current.model_fields:
            continue
        current = next(_models_in(current.model_fields[part].annotation), None)
    return list(current.model_fields) if current else []


def _models_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _shorten(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
