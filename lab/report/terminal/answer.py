"""The first screen of a run in the terminal: at most 35 lines at 80 columns.

Up to four variants have a column each; with more, each variant has a line. When the screen would be
too long, the details go first: the figures of failed expectations, then theory, then the strip.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from rich.console import Console
from rich.text import Text

from lab.report import formatting
from lab.report.answer import HARDLY, MOSTLY, Answer, Strip
from lab.report.answer_rows import CALM, AnswerMatrix, AnswerRow, short_name
from lab.report.formatting import TextFormat

MAX_LINES = 35
MAX_WIDTH = 100
_INDENT, _TOP_INDENT = 11, 8
_LABEL_WIDTH, _NARROW_LABEL_WIDTH = 27, 23
_UNIT_WIDTH = 4
_BETTER_WIDTH, _NARROW_BETTER_WIDTH = 12, 8
_MAX_COLUMNS = 4
"""More variants than this get a line each."""
_MAX_TABLES = 2
_MIN_CELL_WIDTH, _LEAST_CELL_WIDTH = 15, 8
_STRIP_LABEL_WIDTH = 15
_UNBREAKABLE = re.compile(r" (?=[✓✗?+x](?: |$))|(?<=\d) (?=(?:ms|s|MiB)\b|%)")
"""The blanks before a verdict's sign and before a unit: no line ends there."""


@dataclass(frozen=True)
class _Detail:
    """What is printed in addition to the answer: how many failures and footnotes, and whether the
    figures of the failures, the rows of calm phases, the strip and what theory predicted."""

    failures: int = 3
    figures: bool = True
    calm: bool = True
    strip: bool = True
    theory: bool = True
    footnotes: int = 9


_DETAILS = (
    _Detail(),
    _Detail(figures=False),
    _Detail(figures=False, calm=False),
    _Detail(figures=False, calm=False, theory=False),
    _Detail(figures=False, calm=False, theory=False, strip=False),
    _Detail(1, figures=False, calm=False, theory=False, strip=False, footnotes=2),
    _Detail(1, figures=False, calm=False, theory=False, strip=False, footnotes=1),
    _Detail(1, figures=False, calm=False, theory=False, strip=False, footnotes=0),
)
"""From everything to the least; the first that fits on one screen is printed."""


def render_answer(answer: Answer, console: Console) -> None:
    """Print the answer."""
    fmt = TextFormat.for_console(console)
    lines: list[Text] = []
    for detail in _DETAILS:
        lines = list(_lines(answer, fmt, detail))
        if len(lines) <= MAX_LINES:
            break
    for line in lines:
        console.print(line, soft_wrap=True)


def _lines(answer: Answer, fmt: TextFormat, detail: _Detail) -> Iterator[Text]:
    width = min(fmt.width, MAX_WIDTH)
    if not detail.calm:
        main = () if answer.matrix else answer.sections[:1]
        kept = [one for one in answer.sections if one.title != CALM or one in main]
        answer = replace(answer, sections=tuple(kept))
    yield from _head(answer, fmt, width)
    if answer.matrix is not None:
        yield from _matrix_lines(answer, answer.matrix, fmt, width)
    if len(answer.variants) <= _MAX_COLUMNS:
        yield from _columns(answer, fmt, width)
    else:
        yield from _one_variant_a_line(answer, fmt, width)
    if detail.strip:
        yield from _strip_lines(answer, fmt, width)
    yield Text()
    for number, guess in enumerate(answer.guesses):
        yield from _paragraph("" if number else "You said", guess, fmt, width)
    if answer.why:
        yield from _paragraph("Why", answer.why, fmt, width)
    if answer.catch:
        yield from _paragraph("The catch", answer.catch, fmt, width)
    if answer.theory and detail.theory:
        yield from _paragraph("Theory", answer.theory, fmt, width)
    yield from _paragraph("Verdict", answer.verdict, fmt, width, "red" if answer.failed else "")
    for failure in answer.failed[: detail.failures]:
        measured = f" Measured: {failure.measured}." if detail.figures else ""
        yield from _paragraph("  fails", f"{failure.says}{measured}", fmt, width, "red")
    if (more := len(answer.failed) - detail.failures) > 0:
        yield from _paragraph("", f"… and {more} more.", fmt, width, "red")
    for footnote in answer.footnotes[: detail.footnotes]:
        yield from _paragraph("", footnote, fmt, width, "dim")
    yield from _next_lines(answer, fmt, width)


def _head(answer: Answer, fmt: TextFormat, width: int) -> Iterator[Text]:
    state = "INVALID" if not answer.valid else "simulated" if answer.simulated else "valid"
    sign = ("✓ " if answer.valid else "✗ ") if not fmt.ascii_only else ""
    tail, style = f"{sign}{state}", "green" if answer.valid else "bold red"
    title, subject = fmt.plain(answer.title.upper()), fmt.plain(answer.subject)
    room = width - len(tail) - 2
    one_line = f"{title}   {subject}"
    head = one_line if len(one_line) <= room else textwrap.shorten(title, room, placeholder="")
    yield Text.assemble((head, "bold"), " " * (width - len(head) - len(tail)), (tail, style))
    if head != one_line:
        yield from map(Text, textwrap.wrap(subject, width, break_on_hyphens=False))
    for problem in answer.problems:
        yield from _paragraph("", problem, fmt, width, "red")
    for heading, text in (("Better:", answer.better), ("Price:", answer.price)):
        if text:
            yield from _paragraph(heading, text, fmt, width, indent=_TOP_INDENT)
    yield Text()


def _next_lines(answer: Answer, fmt: TextFormat, width: int) -> Iterator[Text]:
    if answer.following:
        yield from _paragraph("Next", f"lab run {answer.following}", fmt, width)
    hint = "lab open   this run with charts      lab report --full   every table"
    yield from _paragraph("" if answer.following else "Next", hint, fmt, width)


# ── Columns: up to four variants


def _columns(answer: Answer, fmt: TextFormat, width: int) -> Iterator[Text]:
    if not answer.sections:
        return
    count = len(answer.variants)
    label = _LABEL_WIDTH if count <= 2 else _NARROW_LABEL_WIDTH
    better = 0 if count < 2 else _better_width(answer) if count == 2 else _NARROW_BETTER_WIDTH
    cell = (width - label - _UNIT_WIDTH - better) // count
    if cell < _LEAST_CELL_WIDTH:
        yield from _one_figure_a_line(answer, fmt)
        return
    margin = label + _UNIT_WIDTH
    names = [_wrapped(fmt.plain(one), cell - 1) for one in answer.variants]
    *upper, last = _stacked(names, *[cell] * count)
    heading = ("better" if count == 2 else f"{_best_sign(fmt)} best") if better else ""
    yield from (Text(" " * margin + line, "bold") for line in upper)
    yield Text(f"{' ' * margin}{last.ljust(cell * count)}{heading}".rstrip(), "bold")
    ways = [fmt.plain(f"({way})") for way in answer.ways]
    under = "".join(way.ljust(cell) for way in ways) if max(map(len, ways)) < cell else ""
    for number, section in enumerate(answer.sections):
        title = fmt.plain(section.title)
        if under and not number and len(title) < margin:
            yield Text.assemble((title.ljust(margin), "bold"), (under.rstrip(), "dim"))
        else:
            if under and not number:
                yield Text(" " * margin + under.rstrip(), "dim")
            yield Text(title, "bold")
        for row in section.rows:
            yield from _row_lines(row, fmt, label, cell)


def _one_figure_a_line(answer: Answer, fmt: TextFormat) -> Iterator[Text]:
    """The rows on a screen that is too narrow for columns."""
    names = max(map(len, answer.variants)) + 5
    for section in answer.sections:
        yield Text(fmt.plain(section.title), "bold")
        for row in section.rows:
            yield Text(f"  {fmt.plain(row.label.strip())} {row.unit}".rstrip())
            for index, variant in enumerate(answer.variants):
                line = Text(f"    {fmt.plain(variant)}".ljust(names))
                line.append(_cell_text(row, index, fmt, _MIN_CELL_WIDTH), _style(row, index))
                line.rstrip()
                yield line


def _better_width(answer: Answer) -> int:
    words = (len(row.better) for section in answer.sections for row in section.rows)
    return max(_BETTER_WIDTH, *words)


def _row_lines(row: AnswerRow, fmt: TextFormat, label: int, cell: int) -> Iterator[Text]:
    many = len(row.cells) > 2
    name = f"  {' ' * (len(row.label) - len(row.label.lstrip()))}{fmt.plain(row.label.strip())}"
    room = label + (0 if row.unit else _UNIT_WIDTH)
    if len(name) >= room:
        yield Text(name)
        name = ""
    line = Text(name.ljust(room) + (row.unit.ljust(_UNIT_WIDTH) if row.unit else ""))
    for index in range(len(row.cells)):
        line.append(_cell_text(row, index, fmt, cell, marked=many), _style(row, index))
    if not many or not row.best:
        line.append(fmt.plain(row.better), "bold" if row.best else "dim")
    line.rstrip()
    yield line


def _cell_text(row: AnswerRow, index: int, fmt: TextFormat, width: int, marked: bool = True) -> str:
    """The figure of one variant and the sign of the best one, at least `width` wide."""
    cell = row.cells[index]
    mark = f" {_best_sign(fmt)}" if marked and index in row.best else ""
    text = fmt.plain(cell.text)
    if len(text + mark) >= width and cell.short:
        text = fmt.plain(cell.short)
    return f"{text}{mark} ".ljust(width)


def _style(row: AnswerRow, index: int) -> str:
    return "bold red" if row.cells[index].bad else "green" if index in row.best else ""


def _best_sign(fmt: TextFormat) -> str:
    return "+" if fmt.ascii_only else "▲"


# ── Lines: more variants than columns


def _one_variant_a_line(answer: Answer, fmt: TextFormat, width: int) -> Iterator[Text]:
    """Tables with a line for each variant; what is the same in each has no column."""
    names = max(map(len, answer.variants)) + 4
    fitting = max(1, (width - names) // _MIN_CELL_WIDTH)
    rows, same = [], []
    for section in sorted(answer.sections, key=lambda one: one.title == CALM):
        for row in section.rows:
            label = row.alone or row.label.strip()
            figures = {cell.short or cell.text for cell in row.cells}
            if len(figures) > 1 and (row.best or row.worst):
                rows.append((section.title, replace(row, label=label)))
            elif len(figures) == 1:
                same.append(f"{label} {row.unit}".rstrip() + f" {figures.pop()}")
    rows = rows[: _MAX_TABLES * fitting]
    tables = ceil(len(rows) / fitting)
    for number in range(tables):
        size = ceil(len(rows) / tables)
        yield from _variant_lines(answer, rows[number * size :][:size], fmt, width - names)
    if same:
        yield from _paragraph("In all:", "; ".join(same), fmt, width, indent=_TOP_INDENT)


def _variant_lines(
    answer: Answer, rows: Sequence[tuple[str, AnswerRow]], fmt: TextFormat, width: int
) -> Iterator[Text]:
    names = max(map(len, answer.variants)) + 4
    cell = min(width // len(rows), _MIN_CELL_WIDTH + 6)
    titles: dict[str, int] = {}
    for title, _ in rows:
        titles[title] = titles.get(title, 0) + cell
    spans = list(titles.values())
    wrapped = [_wrapped(fmt.plain(title), span - 1) for title, span in titles.items()]
    yield from (Text(" " * names + line, "bold") for line in _stacked(wrapped, *spans))
    headings = [
        _wrapped(fmt.plain(f"{row.label.strip()} {row.unit}".strip()), cell - 1) for _, row in rows
    ]
    yield from (
        Text(" " * names + line, "dim") for line in _stacked(headings, *[cell] * len(headings))
    )
    for index, variant in enumerate(answer.variants):
        line = Text(f"  {fmt.plain(variant)}".ljust(names))
        for _, row in rows:
            line.append(_cell_text(row, index, fmt, cell), _style(row, index))
        line.rstrip()
        yield line


# ── Matrix: faults one after another


def _matrix_lines(
    answer: Answer, matrix: AnswerMatrix, fmt: TextFormat, width: int
) -> Iterator[Text]:
    """A line for each fault; for each request a group of columns, one for each variant."""
    faults = [fmt.plain(fault) for fault, _ in matrix.lines]
    count = len(answer.variants)
    label = max(len("Requests that succeed"), *map(len, faults)) + 2
    cell = (width - label) // (count * len(matrix.requests))
    requests = "".join(fmt.plain(one).ljust(cell * count) for one in matrix.requests)
    yield Text("Requests that succeed".ljust(label) + requests.rstrip(), "bold")
    names = [
        fmt.plain(short_name(one, answer.variants))[: cell - 1].ljust(cell)
        for one in answer.variants
    ]
    legend = f"  {_best_sign(fmt)} better".ljust(label)
    yield Text(legend + ("".join(names) * len(matrix.requests)).rstrip(), "dim")
    for fault, rows in zip(faults, (rows for _, rows in matrix.lines), strict=True):
        line = Text(fault.ljust(label))
        for row in rows:
            for index, one in enumerate(row.cells):
                mark = _best_sign(fmt) if index in row.best else ""
                line.append(f"{_percent(one.value)} {mark}".ljust(cell), _style(row, index))
        line.rstrip()
        yield line
    yield Text()


def _percent(share: float | None) -> str:
    """A share in five characters; only 1 is `100 %`."""
    if share is None:
        return formatting.NONE
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return f"{min(round(100 * share), 99)} %" if share >= 0.01 else "<1 %"


# ── Strip


def _strip_lines(answer: Answer, fmt: TextFormat, width: int) -> Iterator[Text]:
    if not answer.strips:
        return
    names = max(_STRIP_LABEL_WIDTH, *(len(one.variant) for one in answer.strips)) + 1
    columns = len(answer.strips[0].shares)
    begins = [place for place, _ in answer.strip_stages]
    label = fmt.plain(answer.strip_label)
    yield Text()
    heading = Text(label.ljust(names + begins[0]), "dim")
    for (place, name), end in zip(answer.strip_stages, [*begins[1:], columns], strict=True):
        room = end - place - 1
        words = fmt.plain(name)
        shown = next((one for one in (words, words.split(" ")[0]) if len(one) <= room), "")
        heading.append(f"{'|' if fmt.ascii_only else '┃'}{shown.center(room)}", "dim")
    heading.rstrip()
    yield heading
    for strip in answer.strips:
        yield _strip_line(strip, fmt, names, width)


def _strip_line(strip: Strip, fmt: TextFormat, names: int, width: int) -> Text:
    full, part, none = ("#", "-", "x") if fmt.ascii_only else ("█", "▄", "×")
    line = Text(fmt.plain(strip.variant).ljust(names))
    for share in strip.shares:
        if share is None:
            line.append(" ")
        elif share > MOSTLY:
            line.append(full, "green")
        elif share > HARDLY:
            line.append(part, "yellow")
        else:
            line.append(none, "red")
    total = f"  {strip.total} succeed"
    line.append(total if len(line) + len(total) <= width else f"  {strip.total}")
    return line


# ── Text


def _paragraph(
    heading: str, text: str, fmt: TextFormat, width: int, style: str = "", indent: int = _INDENT
) -> Iterator[Text]:
    joined = _UNBREAKABLE.sub("\u00a0", fmt.plain(text))
    lines = textwrap.wrap(joined, width - indent, break_on_hyphens=False)
    for number, line in enumerate(lines or [""]):
        line = line.replace("\u00a0", " ")
        yield Text.assemble(((heading if not number else "").ljust(indent), "bold"), (line, style))


def _wrapped(text: str, width: int) -> list[str]:
    """A heading in lines, broken at blanks and hyphens; only a longer word is cut."""
    return textwrap.wrap(text, width) or [""]


def _stacked(headings: Sequence[Sequence[str]], *widths: int) -> list[str]:
    """Headings of several lines next to each other, aligned at the bottom."""
    height = max(map(len, headings))
    padded = [[""] * (height - len(lines)) + list(lines) for lines in headings]
    return ["".join(map(str.ljust, row, widths)).rstrip() for row in zip(*padded, strict=True)]
