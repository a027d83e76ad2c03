"""The report page of a run: one self-contained HTML file, for a browser and for print.

The file contains its style and its charts and loads nothing, so it can be mailed, handed in, and
read offline. Its content security policy forbids requests and scripts. The order is that of a lab
report: question, prediction, timeline, figures, claims, explanation, machine and seed.

`keep(result, folder)` writes the page into a run folder; `page(result, raw)` is its text.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.report.charts import Chart, ChartData, charts
from lab.report.charts.colours import STYLE
from lab.report.charts.svg import element, escape_text
from lab.report.formatting import TextFormat
from lab.report.html import tables
from lab.report.html.markup import paragraphs, rich_to_html, scroll_frame
from lab.report.terminal import run as terminal
from lab.report.terminal import sections
from lab.report.terminal.wide_tables import noise_sentence, run_count
from lab.results.result import RunResult
from lab.support.files import write_private

# ── File

NAME = "report.html"


def save(result: RunResult, folder: Path) -> Path:
    """Write the page into the run folder and return its path. Raises OSError.

    The write is atomic, and only the owner can read the file.
    """
    path = folder / NAME
    write_private(path, render(result, ChartData.read(result, folder)))
    return path


# ── Style

_LIGHT = "--ink:#1E293B;--soft:#475569;--ground:#FFFFFF;--page:#F1F5F9;--grid:#CBD5E1;--bad:#A40000"
_DARK = "--ink:#E2E8F0;--soft:#A9B6C8;--ground:#0F172A;--page:#080D19;--grid:#334155;--bad:#FF9C9C"

PAGE_STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}
header,main,footer{{max-width:60rem;margin:auto;padding:0 1.25rem;background:var(--ground)}}
header,main{{display:flow-root}}header{{padding-top:1.5rem}}footer{{padding-bottom:2rem;color:var(--soft)}}
h1{{font-size:1.7rem;line-height:1.2;margin:0 0 .25rem}}
h2{{font-size:1.2rem;margin:2.2rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--grid)}}
h3{{font-size:1rem;margin:1.4rem 0 .3rem}}
p{{max-width:44rem;margin:.5rem 0}}
ul{{max-width:44rem;margin:.3rem 0;padding-left:1.2rem}}
.soft,figcaption small{{color:var(--soft)}}
.bad{{color:var(--bad);font-weight:700}}
.strong{{font-weight:600}}
.question{{border-left:4px solid var(--soft);padding-left:1rem;font-size:1.05rem}}
.invalid{{border:3px solid var(--bad);padding:.5rem 1rem}}
figure{{margin:1.4rem 0}}
figcaption{{font-weight:600;margin-bottom:.3rem}}
.scroll{{overflow-x:auto;max-width:100%}}
.scroll:focus-visible{{outline:2px solid var(--soft);outline-offset:2px}}
.scroll .lab-chart{{display:block;min-width:40rem;width:100%}}
table{{border-collapse:collapse;font-size:.9rem;margin:.8rem 0;font-variant-numeric:tabular-nums}}
caption{{text-align:left;font-weight:600;padding-bottom:.3rem;white-space:nowrap}}
th,td{{padding:.15rem .55rem;text-align:left;vertical-align:top}}
th{{font-weight:600}}tbody th{{font-weight:400}}
thead tr:last-child th{{border-bottom:1px solid var(--soft)}}
td.n,th.n{{text-align:right;white-space:nowrap}}
.first{{border-left:1px solid var(--grid)}}
tr.end>*{{border-bottom:1px solid var(--grid)}}
dl.claims{{margin:.5rem 0}}dl.claims>dt{{margin-top:1rem}}dl.claims>dd{{margin:.4rem 0 0 1.2rem}}
.figures{{color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}}
@media print{{
@page{{margin:16mm}}
:root{{color-scheme:light;{_LIGHT};--page:#FFFFFF}}
body{{font-size:10pt}}header,main,footer{{max-width:none;padding:0}}
figure,tr,dd,.invalid,.question{{break-inside:avoid}}h2,h3,figcaption,caption{{break-after:avoid}}
.scroll{{overflow:visible}}.scroll .lab-chart{{min-width:0;max-height:22cm}}
table{{font-size:7.5pt}}th,td{{padding:.1rem .25rem}}th.n{{white-space:normal}}
}}
{STYLE}
"""


# ── Text

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_FORMAT = TextFormat(ascii_only=False, width=200)
_OUTCOMES = {
    0: "All expectations hold.",
    1: "Not all expectations hold.",
    3: "INVALID: this run was not honest, so its figures are no result.",
}


def render(result: RunResult, data: ChartData) -> str:
    """The whole document. All text that came from a file is escaped."""
    charts_by_name = {one.name: one for one in charts(result, data)}
    title = escape_text(result.title or result.scenario, 200)
    head = (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        '<link rel="icon" href="data:,">',  # or a browser would request one
        f"<title>{title}</title><style>{PAGE_STYLE}</style>",
    )
    body = (
        element("header", {}, *_head(result, title)),
        element("main", {}, *_sections(result, data, charts_by_name)),
        element("footer", {}, *_footer(result)),
    )
    inner = "\n".join((*head, "</head><body>", *body))
    return f'<!doctype html>\n<html lang="en"><head>\n{inner}\n</body></html>\n'


def _head(result: RunResult, title: str) -> Iterator[str]:
    yield element("h1", {}, title)
    kind = ", quick" if result.quick else ""
    subtitle = f"scenario {result.scenario}, seed {result.seed}{kind}, {result.started}"
    yield element("p", {"class": "soft"}, escape_text(subtitle, 300))
    yield from rich_to_html(run_count(result, _FORMAT))
    if not result.valid:
        reasons = [element("li", {}, escape_text(problem, 1_000)) for problem in result.problems]
        message = element("p", {"class": "bad"}, _OUTCOMES[3])
        yield element(
            "div", {"class": "invalid"}, message, element("ul", {}, *reasons) if reasons else ""
        )


def _sections(
    result: RunResult, data: ChartData, charts_by_name: dict[str, Chart]
) -> Iterator[str]:
    def figures(*names: str) -> Iterator[str]:
        yield from (_figure(charts_by_name[name]) for name in names if name in charts_by_name)

    if result.question.strip():
        question = element("div", {"class": "question"}, *paragraphs(result.question, 2_000))
        yield _section("The question", question)
    if result.valid:
        yield _section(
            "What was said before", *rich_to_html(sections.guess_rows(result.guesses, _FORMAT))
        )
    yield _section("Timeline", tables.timeline(result))
    yield _section(
        "Who was answered, and how soon",
        *figures("blast-radius", "latency-over-time", "success-over-time"),
        *(element("p", {"class": "soft"}, escape_text(why, 400)) for why in data.problems),
        tables.answers(result),
        *figures("latency-quantiles"),
        tables.differences(result),
        *_noise(result),
        *rich_to_html(terminal.failures(result, _FORMAT)),
    )
    yield _section("When writes were visible", *figures("answered-visible"), tables.writes(result))
    particulars = rich_to_html(terminal.details(result, _FORMAT))
    yield _section("What became of the data", *figures("lag"), *particulars)
    if result.valid:
        rows = rich_to_html(sections.prediction_rows(result.predictions, _FORMAT))
        yield _section("Theory and measurement", *figures("predicted-measured"), *rows)
    yield _section("What is claimed, and what was seen", *_claims(result))
    yield _section("What it means", *paragraphs(result.explain, 10_000))
    yield _section("How it was measured", tables.conditions(result))


def _claims(result: RunResult) -> Iterable[str]:
    outcome = escape_text(_OUTCOMES[result.exit_code])
    if not result.valid:
        return [element("p", {"class": "bad"}, outcome, " It proves nothing either way.")]
    if not result.expectations:
        return [element("p", {}, "Nothing is expected of these variants.")]
    kind = "strong" if result.exit_code == 0 else "bad"
    return [element("p", {"class": kind}, outcome), tables.verdicts(result)]


def _noise(result: RunResult) -> Iterator[str]:
    if result.noise_floor and result.differences:
        note = "The ratio lies between the two, for all lines together at 95 %. -: none shown."
        sentence = f"{note} {noise_sentence(result.noise_floor)}"
        yield element("p", {"class": "soft"}, escape_text(sentence))


def _footer(result: RunResult) -> Iterator[str]:
    note = (
        "Latency counts from the moment a request was due. Every figure can be worked out again "
        "from samples.csv, which lies beside this page, as does result.json."
    )
    yield element("p", {}, escape_text(note))
    yield element("p", {}, escape_text(f"Run it yourself: lab run {result.scenario}", 200))


def _figure(chart: Chart) -> str:
    caption = element("figcaption", {}, escape_text(chart.title))
    return element("figure", {}, caption, scroll_frame(chart.title, chart.svg(styled=False)))


def _section(title: str, *blocks: str) -> str:
    """A heading and its blocks; "" if all blocks are empty."""
    if not any(blocks):
        return ""
    return element("section", {}, element("h2", {}, escape_text(title)), *blocks)
