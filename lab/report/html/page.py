"""The report page of a run: one self-contained HTML file, for a browser and for print.

The file contains its style and its charts and loads nothing, so it can be mailed, handed in, and
read offline. Its content security policy forbids requests and scripts. The order is that of a lab
report: question, prediction, timeline, figures, claims, explanation, machine and seed.

`keep(result, folder)` writes the page into a run folder; `page(result, raw)` is its text.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.report.charts import Chart, Raw, charts
from lab.report.charts.colours import STYLE
from lab.report.charts.svg import element, words
from lab.report.formatting import Look
from lab.report.html import tables
from lab.report.html.markup import paragraphs, printed, scrolling
from lab.report.terminal import run as terminal
from lab.report.terminal import sections
from lab.report.terminal.wide_tables import noise, runs
from lab.results.result import Result

# ── File

NAME = "report.html"


def keep(result: Result, folder: Path) -> Path:
    """Write the page into the run folder and return its path. Raises OSError.

    The write is atomic, and only the owner can read the file.
    """
    path = folder / NAME
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    text = page(result, Raw.of(result, folder))
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
    partial.replace(path)
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
_LOOK = Look(ascii_only=False, width=200)
_OUTCOMES = {
    0: "All expectations hold.",
    1: "Not all expectations hold.",
    3: "INVALID: this run was not honest, so its figures are no result.",
}


def page(result: Result, raw: Raw) -> str:
    """The whole document. All text that came from a file is escaped."""
    drawn = {one.name: one for one in charts(result, raw)}
    title = words(result.title or result.scenario, 200)
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
        element("main", {}, *_sections(result, raw, drawn)),
        element("footer", {}, *_foot(result)),
    )
    inner = "\n".join((*head, "</head><body>", *body))
    return f'<!doctype html>\n<html lang="en"><head>\n{inner}\n</body></html>\n'


def _head(result: Result, title: str) -> Iterator[str]:
    yield element("h1", {}, title)
    kind = ", quick" if result.quick else ""
    told = f"scenario {result.scenario}, seed {result.seed}{kind}, {result.started}"
    yield element("p", {"class": "soft"}, words(told, 300))
    yield from printed(runs(result, _LOOK))
    if not result.valid:
        why = [element("li", {}, words(problem, 1_000)) for problem in result.problems]
        says = element("p", {"class": "bad"}, _OUTCOMES[3])
        yield element("div", {"class": "invalid"}, says, element("ul", {}, *why) if why else "")


def _sections(result: Result, raw: Raw, drawn: dict[str, Chart]) -> Iterator[str]:
    def figures(*names: str) -> Iterator[str]:
        yield from (_figure(drawn[name]) for name in names if name in drawn)

    if result.question.strip():
        asked = element("div", {"class": "question"}, *paragraphs(result.question, 2_000))
        yield _section("The question", asked)
    if result.valid:
        yield _section("What was said before", *printed(sections.guess_rows(result.guesses, _LOOK)))
    yield _section("Timeline", tables.timeline(result))
    yield _section(
        "Who was answered, and how soon",
        *figures("blast-radius", "latency-over-time", "success-over-time"),
        *(element("p", {"class": "soft"}, words(why, 400)) for why in raw.problems),
        tables.answers(result),
        *figures("latency-quantiles"),
        tables.differences(result),
        *_noise(result),
        *printed(terminal.failures(result, _LOOK)),
    )
    yield _section("When writes were visible", *figures("answered-visible"), tables.writes(result))
    particulars = printed(terminal.particulars(result, _LOOK))
    yield _section("What became of the data", *figures("lag"), *particulars)
    if result.valid:
        rows = printed(sections.rows(result.predictions, _LOOK))
        yield _section("Theory and measurement", *figures("predicted-measured"), *rows)
    yield _section("What is claimed, and what was seen", *_claims(result))
    yield _section("What it means", *paragraphs(result.explain, 10_000))
    yield _section("How it was measured", tables.machine(result))


def _claims(result: Result) -> Iterable[str]:
    outcome = words(_OUTCOMES[result.exit_code])
    if not result.valid:
        return [element("p", {"class": "bad"}, outcome, " It proves nothing either way.")]
    if not result.expectations:
        return [element("p", {}, "Nothing is expected of these variants.")]
    kind = "strong" if result.exit_code == 0 else "bad"
    return [element("p", {"class": kind}, outcome), tables.verdicts(result)]


def _noise(result: Result) -> Iterator[str]:
    if result.noise_floor and result.differences:
        said = "The ratio lies between the two, for all lines together at 95 %. -: none shown."
        told = f"{said} {noise(result.noise_floor)}"
        yield element("p", {"class": "soft"}, words(told))


def _foot(result: Result) -> Iterator[str]:
    told = (
        "Latency counts from the moment a request was due. Every figure can be worked out again "
        "from samples.csv, which lies beside this page, as does result.json."
    )
    yield element("p", {}, words(told))
    yield element("p", {}, words(f"Run it yourself: lab run {result.scenario}", 200))


def _figure(of: Chart) -> str:
    caption = element("figcaption", {}, words(of.title))
    return element("figure", {}, caption, scrolling(of.title, of.svg(styled=False)))


def _section(title: str, *blocks: str) -> str:
    """A heading and its blocks; "" if all blocks are empty."""
    if not any(blocks):
        return ""
    return element("section", {}, element("h2", {}, words(title)), *blocks)
