"""A run as HTML for a notebook cell: verdict, tables, charts, and a folded text report.

The output is part of a page that may be light or dark. So it uses the page's text and background
colours, has CSS only for its own class, and loads nothing. User-written text goes through `words`,
which escapes it.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from itertools import count

from rich.console import Console

from lab.report import formatting
from lab.report.charts import Chart
from lab.report.charts.svg import escape_text
from lab.report.terminal import sections
from lab.report.terminal.progress import headline
from lab.results.result import EndpointResult, Guess, RunResult
from lab.support.text import plain

TEXT_WIDTH = 100
_svg_numbers = count(1)

# The class is repeated to win over the notebook's rules for tables and <pre>, which have two.
_SELECTOR = ".lab-cell" * 3
_STYLE = "".join(
    f"{','.join(f'{_SELECTOR}{of}' for of in what.split(','))}{{{rule}}}"
    for what, rule in (
        ("", "max-width:62rem;overflow-x:auto"),
        (" table", "border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums"),
        (" caption", "text-align:left;font-weight:600;padding:.3em 0"),
        (" th, td", "padding:.15em .7em .15em 0;text-align:right;vertical-align:top"),
        (" th", "font-weight:600"),
        (" .left", "text-align:left"),
        (" thead th", "border-bottom:1px solid currentColor"),
        (" .bad", "font-weight:700"),
        (" pre", "white-space:pre;overflow-x:auto;font-size:.85em;line-height:1.25"),
        (" svg", "display:block;margin:.8em 0"),
    )
)


def cell_html(*parts: str) -> str:
    """The HTML of a cell: the parts and their CSS."""
    return f'<div class="lab-cell"><style>{_STYLE}</style>{"".join(parts)}</div>'


def as_text(render: Callable[[Console], None], width: int = TEXT_WIDTH) -> str:
    """The output of `render` on a terminal of `width` columns, without colours."""
    out = io.StringIO()
    render(Console(file=out, width=width, color_system=None, force_jupyter=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def as_pre(text: str) -> str:
    """Text as a `<pre>` element."""
    return f"<pre>{escape(printable(text))}</pre>"


def result_html(result: RunResult, charts: Sequence[Chart], text: str) -> str:
    """The HTML of a run. `text`: its terminal report, for the folded section."""
    quick = ", quick" if result.quick else ""
    head = (
        f'<p><strong class="title">{escape_text(result.title or result.scenario, 200)}</strong><br>'
        f"{escape_text(result.scenario, 60)}, seed {result.seed}{quick}</p>"
    )
    return cell_html(
        head,
        "".join(_verdict(result)),
        guesses_html(result.guesses) if result.valid else "",
        _answers(result),
        *(
            f"<p><strong>{escape_text(one.title, 200)}</strong></p>{_svg_with_unique_ids(one)}"
            for one in charts
        ),
        f"<details><summary>All tables, proofs and verdicts</summary>{as_pre(text)}</details>",
    )


def _svg_with_unique_ids(chart: Chart) -> str:
    """The SVG of a chart with ids that are unique in the notebook."""
    ids = f"lab-{chart.name}-"
    return chart.svg().replace(ids, f"{ids}{next(_svg_numbers)}-")


def guesses_html(guesses: Sequence[Guess]) -> str:
    """A table of the guesses; "" without guesses."""
    if not guesses:
        return ""
    lines = [
        [
            one.asks if number == 0 or guesses[number - 1].asks != one.asks else "",
            one.variant,
            sections.format_with_unit(one.guessed, one.unit),
            sections.format_with_unit(one.measured, one.unit),
            sections.format_with_unit(one.theory, one.unit),
            sections.grade(one),
        ]
        for number, one in enumerate(guesses)
    ]
    return table(
        sections.GUESSES_TITLE, ["", "", "you", "measured", "theory", ""], lines, left_columns=2
    )


def table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], left_columns: int = 1
) -> str:
    """A table; the first `left` columns are left-aligned words, the others figures."""
    alignments = [
        ' class="left"' if number < left_columns else "" for number in range(len(headings))
    ]
    head = "".join(
        f'<th scope="col"{side}>{escape_text(name, 60)}</th>'
        for name, side in zip(headings, alignments, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(_cell(one, side) for one, side in zip(row, alignments, strict=True))}</tr>"
        for row in rows
    )
    return (
        f"<table><caption>{escape_text(caption, 200)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cell(text: str, alignment: str) -> str:
    figures_whole = escape_text(text, 400).replace(" ms", "&nbsp;ms")
    return f"<td{alignment}>{figures_whole}</td>"


def _verdict(result: RunResult) -> Iterator[str]:
    if not result.valid:
        yield '<p class="bad">INVALID: this run was not honest, so its figures are no result.</p>'
        yield f"<ul>{''.join(f'<li>{escape_text(one, 600)}</li>' for one in result.problems)}</ul>"
        return
    yield f"<p>{escape_text(headline(result), 300)}.</p>"
    not_holding = [one for one in result.expectations if one.verdict != "holds"]
    if not_holding:
        items = "".join(
            f"<li>{escape_text(f'{one.verdict}: {one.says}', 400)}</li>" for one in not_holding
        )
        yield f'<ul class="bad">{items}</ul>'


def _answers(result: RunResult) -> str:
    """For each endpoint and phase, the success, p50 and p95 (ms) of each variant."""
    names = [variant.name for variant in result.variants]
    phases = dict.fromkeys(phase for one in result.variants for phase in one.phases)
    kinds = dict.fromkeys(
        kind for one in result.variants for of in one.phases.values() for kind in of.endpoints
    )
    rows = []
    for kind in kinds:
        for number, phase in enumerate(phases):
            row = [kind if number == 0 else "", phase]
            for variant in result.variants:
                of = variant.phases.get(phase)
                row += _figures(of.endpoints.get(kind) if of else None)
            rows.append(row)
    headings = ["request", "phase"]
    for name in names:
        headings += [f"{name}: good", "p50 ms", "p95 ms"]
    return table(
        "Answers: how many were good, and how long these took", headings, rows, left_columns=2
    )


def _figures(endpoint: EndpointResult | None) -> list[str]:
    if endpoint is None:
        return [formatting.NONE] * 3
    return [
        formatting.success(endpoint.success),
        formatting.ms(endpoint.latency_ms.p50),
        formatting.ms(endpoint.latency_ms.p95),
    ]


def printable(text: str) -> str:
    """`text` without invisible characters; line breaks and indents are preserved."""
    lines = []
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        lines.append(" " * indent + plain(line))
    return "\n".join(lines)
