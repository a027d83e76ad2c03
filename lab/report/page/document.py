"""The page's text, section by section."""

from collections.abc import Iterable, Iterator

from lab.report import guesses, predictions
from lab.report import tables as terminal
from lab.report.cells import Look
from lab.report.charts import Chart, Raw, charts
from lab.report.charts.svg import element, words
from lab.report.differences import noise, runs
from lab.report.page import tables
from lab.report.page.markup import paragraphs, printed, scrolling
from lab.report.page.style import PAGE_STYLE
from lab.scenarios.result import Result

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LOOK = Look(ascii_only=False, width=200)
_OUTCOMES = {
    0: "All expectations hold.",
    1: "Not all expectations hold.",
    3: "INVALID: this run was not honest, so its figures are no result.",
}


def page(result: Result, raw: Raw) -> str:
    """The whole document. Everything that came from a file is escaped on its way."""
    drawn = {one.name: one for one in charts(result, raw)}
    title = words(result.title or result.scenario, 200)
    head = (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        '<link rel="icon" href="data:,">',  # or a browser would ask for one
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
        yield _section("What was said before", *printed(guesses.rows(result.guesses, _LOOK)))
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
        rows = printed(predictions.rows(result.predictions, _LOOK))
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
    """A heading and what is under it; nothing where there is nothing under it."""
    if not any(blocks):
        return ""
    return element("section", {}, element("h2", {}, words(title)), *blocks)
