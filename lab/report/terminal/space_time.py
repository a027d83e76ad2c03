"""A space-time diagram as text: a line for each message and each moment, in order."""

from collections.abc import Iterator

from lab.results.space_time import Arrow, Diagram, Mark, Stretch, time_label

_TIME_WIDTH = 9
_PITCH = 9
_MARKS = {"commit": "■", "crash": "✕", "start": "○", "good": "✓", "bad": "✕", "note": "•"}
_WORDS = {"commit": "commits", "crash": "crashes", "start": "starts again"}


def space_time_lines(diagram: Diagram) -> list[str]:
    """The diagram, at most 80 columns wide for six lifelines. A message has the line of its
    arrival; one that never arrives has that of its start."""
    columns = {
        name: _TIME_WIDTH + 3 + number * _PITCH for number, name in enumerate(diagram.lifelines)
    }
    lines = [*_header(columns)]
    down: set[str] = set()
    shown = ""
    for step in diagram.steps():
        item = step.item
        if isinstance(item, Stretch):
            if item.kind == "down":
                (down.discard if step.is_end else down.add)(item.lifeline)
            continue
        if isinstance(item, Arrow) and not step.is_end and item.received_ms is not None:
            continue
        cells = [" "] * (max(columns.values()) + 1)
        for name, column in columns.items():
            cells[column] = "┆" if name in down else "│"
        if isinstance(item, Mark):
            cells[columns[item.lifeline]] = _MARKS[item.kind]
            text = " ".join(
                filter(None, (f"{item.lifeline}", _WORDS.get(item.kind, ""), item.label))
            )
        else:
            _draw(cells, columns[item.sender], columns[item.receiver], item)
            text = f"{item.label}, lost: {item.lost}" if item.lost else item.label
        at = time_label(step.at_ms)
        lines.append(
            f"{at if at != shown else '':>{_TIME_WIDTH}}{''.join(cells)[_TIME_WIDTH:]}  {text}"
        )
        shown = at
    return lines


def _header(columns: dict[str, int]) -> Iterator[str]:
    """The names above their lifelines, every other one a line higher."""
    for first in (1, 0):
        line = ""
        for number, (name, column) in enumerate(columns.items()):
            if number % 2 == first:
                line = line.ljust(max(len(line), column - len(name) // 2)) + name
            elif first == 0:
                line = line.ljust(column) + "│"
        if line.strip():
            yield line


def _draw(cells: list[str], start: int, end: int, arrow: Arrow) -> None:
    side = 1 if end > start else -1
    if arrow.received_ms is None:
        end = start + side * max(3, abs(end - start) * 2 // 3)
    for column in range(start + side, end, side):
        cells[column] = "─" if arrow.kind != "reply" else "╌"
    cells[start] = "●"
    if arrow.received_ms is None:
        cells[end] = "✕"
    else:
        cells[end - side] = "►" if side > 0 else "◄"
