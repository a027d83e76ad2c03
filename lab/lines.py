"""On which line of a TOML file a key stands. Python's parser doesn't tell; so this looks again."""

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]\[]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_QUOTES = ('"""', "'''")


def line_of(text: str, key: str) -> int | None:
    """The line, from 1, where `key` (as `load.rate`, `method 2 fault`) stands, or what holds it.

    None where there is nothing of the kind.
    """
    wanted = re.split(r"[. ]", key)
    best, found = 0, None
    for number, place in _places(text):
        alike = 0
        while alike < min(len(wanted), len(place)) and wanted[alike] == place[alike]:
            alike += 1
        # What stands there may be longer than the key (its first line is meant), but not elsewhere.
        if alike > best and (alike == len(place) or alike == len(wanted)):
            best, found = alike, number
    return found


def _places(text: str) -> list[tuple[int, list[str]]]:
    """Each line that begins a table or a key, with its whole key: `["method", "2", "fault"]`."""
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
    """The long quotes in which the next line begins; "" for none."""
    at = 0
    while True:
        marks = [inside] if inside else _QUOTES
        found = [(line.find(mark, at), mark) for mark in marks if line.find(mark, at) >= 0]
        if not found:
            return inside
        at, mark = min(found)
        at += len(mark)
        inside = "" if inside else mark
