"""The first screen of a run in the terminal: at most 35 lines at 80 columns."""

import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from lab.report.answer import Answer, Strip
from lab.report.answer_rows import AnswerRow, AnswerSection
from lab.report.formatting import TextFormat

_LABEL_WIDTH = 27
_UNIT_WIDTH = 4
_BETTER_WIDTH = 12
_MAX_COLUMNS = 4
"""More variants than this get a line each."""
_MAX_FAILURES = 3


def render_answer(answer: Answer, console: Console) -> None:
    """Print the answer."""
    fmt = TextFormat.for_console(console)
    for line in _lines(answer, fmt):
        console.print(line, soft_wrap=True)


def _lines(answer: Answer, fmt: TextFormat) -> Iterator[Text]:
    width = min(fmt.width, 100)
    state = "valid" if answer.valid else "INVALID"
    sign = ("✓ " if answer.valid else "✗ ") if not fmt.ascii_only else ""
    head = fmt.plain(f"{answer.title.upper()}   {answer.subject}")
    tail = f"{sign}{state}"
    room = width - len(tail) - 2
    if len(head) > room:
        head = head[: room - 1] + ("…" if not fmt.ascii_only else "~")
    style = "green" if answer.valid else "bold red"
    yield Text.assemble((head, "bold"), " " * (width - len(head) - len(tail)), (tail, style))
    for problem in answer.problems:
        yield from _paragraph("", problem, fmt, width, "red")
    yield Text()
    if len(answer.variants) <= _MAX_COLUMNS:
        yield from _columns(answer, fmt, width)
    else:
        yield from _one_variant_a_line(answer, fmt, width)
    yield from _strip_lines(answer, fmt, width)
    yield Text()
    for guess in answer.guesses:
        yield from _paragraph("You said", guess, fmt, width)
    if answer.why:
        yield from _paragraph("Why", answer.why, fmt, width)
    if answer.catch:
        yield from _paragraph("The catch", answer.catch, fmt, width)
    yield from _paragraph("Verdict", answer.verdict, fmt, width, "" if not answer.failed else "red")
    for sentence in answer.failed[:_MAX_FAILURES]:
        yield from _paragraph("  fails", sentence, fmt, width, "red")
    if (more := len(answer.failed) - _MAX_FAILURES) > 0:
        yield from _paragraph("", f"… and {more} more.", fmt, width, "red")
    if answer.following:
        yield from _paragraph("Next", f"lab run {answer.following}", fmt, width)
    for footnote in answer.footnotes:
        yield from _paragraph("", footnote, fmt, width, "dim")


def _columns(answer: Answer, fmt: TextFormat, width: int) -> Iterator[Text]:
    count = len(answer.variants)
    better = _BETTER_WIDTH if count > 1 else 0
    label = _LABEL_WIDTH if count <= 2 else 23
    cell = (width - label - _UNIT_WIDTH - better) // count
    margin = " " * (label + _UNIT_WIDTH)
    yield Text.assemble(
        margin,
        *((fmt.plain(name)[: cell - 1].ljust(cell), "bold") for name in answer.variants),
        ("better" if better else "", "bold"),
    )
    ways = [fmt.plain(f"({way})")[: cell - 1].ljust(cell) for way in answer.ways]
    first = True
    for section in answer.sections:
        title = fmt.plain(section.title)
        if first:
            if len(title) < label + _UNIT_WIDTH - 1:
                yield Text.assemble(
                    (title.ljust(label + _UNIT_WIDTH), "bold"), ("".join(ways).rstrip(), "dim")
                )
            else:
                yield Text.assemble(margin, ("".join(ways).rstrip(), "dim"))
                yield Text(title, "bold")
            first = False
        else:
            yield Text(title, "bold")
        for row in section.rows:
            yield from _row_lines(row, fmt, label, cell)


def _row_lines(row: AnswerRow, fmt: TextFormat, label: int, cell: int) -> Iterator[Text]:
    name = f"  {' ' * (len(row.label) - len(row.label.lstrip()))}{fmt.plain(row.label.strip())}"
    room = label + (0 if row.unit else _UNIT_WIDTH)
    if len(name) >= room:
        yield Text(name)
        name = ""
    line = Text(name.ljust(room) + (row.unit.ljust(_UNIT_WIDTH) if row.unit else ""))
    for index, one in enumerate(row.cells):
        style = "bold red" if one.bad else "green" if index in row.best else ""
        text = fmt.plain(one.text)
        if len(text) >= cell and one.short:
            text = fmt.plain(one.short)
        line.append(text.ljust(cell) if len(text) < cell else f"{text} ", style)
    line.append(fmt.plain(row.better), "bold" if row.best else "dim")
    line.rstrip()
    yield line


def _one_variant_a_line(answer: Answer, fmt: TextFormat, width: int) -> Iterator[Text]:
    """More variants than columns: each section a small table, a line for each variant."""
    names = max(map(len, answer.variants)) + 4
    for section in answer.sections:
        rows = list(_distinct(section))
        if not rows:
            continue
        yield Text(fmt.plain(section.title), "bold")
        per_line = max(1, (width - names) // 17)
        for start in range(0, len(rows), per_line):
            shown = rows[start : start + per_line]
            cell = (width - names) // len(shown)
            yield Text.assemble(
                " " * names,
                *(
                    (
                        fmt.plain(f"{row.label.strip()} {row.unit}".strip())[: cell - 1].ljust(
                            cell
                        ),
                        "dim",
                    )
                    for row in shown
                ),
            )
            for index, variant in enumerate(answer.variants):
                line = Text(f"  {fmt.plain(variant)}".ljust(names))
                for row in shown:
                    one = row.cells[index]
                    mark = "+" if index in row.best else "-" if index in row.worst else ""
                    sign = {"+": "▲", "-": "▼", "": ""}[mark] if not fmt.ascii_only else mark
                    style = "bold red" if one.bad else "green" if index in row.best else ""
                    line.append(
                        fmt.plain(f"{one.text} {sign}".rstrip())[: cell - 1].ljust(cell), style
                    )
                line.rstrip()
                yield line


def _distinct(section: AnswerSection) -> Iterator[AnswerRow]:
    """The rows in which the variants differ; all of them if none does."""
    differing = [row for row in section.rows if row.best or row.worst]
    yield from differing or section.rows[:2]


def _strip_lines(answer: Answer, fmt: TextFormat, width: int) -> Iterator[Text]:
    if not answer.strips:
        return
    names = max(len(one.variant) for one in answer.strips) + 2
    columns = len(answer.strips[0].shares)
    begins = [place for place, _ in answer.strip_stages]
    label = fmt.plain(answer.strip_label)
    yield Text()
    heading = Text(label[: names + begins[0]].ljust(names + begins[0]), "dim")
    for (place, name), end in zip(answer.strip_stages, [*begins[1:], columns], strict=True):
        room = end - place - 1
        heading.append(
            f"{'|' if fmt.ascii_only else '┃'}{fmt.plain(name)[:room].center(room)}", "dim"
        )
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
        elif share > 0.9:
            line.append(full, "green")
        elif share > 0.1:
            line.append(part, "yellow")
        else:
            line.append(none, "red")
    total = f"  {strip.total} succeed"
    line.append(total if len(line) + len(total) <= width else f"  {strip.total}")
    return line


def _paragraph(
    heading: str, text: str, fmt: TextFormat, width: int, style: str = ""
) -> Iterator[Text]:
    indent = 11
    lines: Sequence[str] = textwrap.wrap(
        fmt.plain(text), width - indent, break_on_hyphens=False
    ) or [""]
    for number, line in enumerate(lines):
        yield Text.assemble(((heading if not number else "").ljust(indent), "bold"), (line, style))
