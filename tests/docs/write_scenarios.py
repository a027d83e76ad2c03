"""Rewrites docs/scenarios.md and the screen in the README: `make docs [ONLY="NAME …"]`.

The page has a chapter for each scenario, with the texts of its file. The tables are measured: the
named scenarios (or `all`) are run, and their results are kept (`tests.support.measured`); the page
is written from the kept ones. The machine should be idle meanwhile. Two HTML comments enclose the
tables of a chapter.
"""

import asyncio
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.experiment.runner import Run
from lab.load.samples import Sample
from lab.report import formatting, sections
from lab.report.answer import build_answer
from lab.report.charts import ChartData
from lab.report.html import notebook
from lab.report.terminal.answer import render_answer
from lab.report.terminal.listing import scenario_facts
from lab.results.paths import format_value
from lab.results.result import EndpointResult, RunResult
from lab.scenarios import catalogue
from lab.scenarios.scenario import Scenario
from tests.support import measured

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs" / "scenarios.md", ROOT / "README.md"
README_RUN = "downed-service"
ATTEMPTS = 3  # a run that is no result, or in which not all holds, is repeated

HEAD = """
# The scenarios

Each in the order in which they are best met: the question to answer before one looks, what is done,
what one run has measured, and what it means. The tables are from one machine, named under each;
yours will have other milliseconds and, if the lab is right, the same verdicts: `lab run all`.
Columns: the share of good answers and their median; `visible` is the median time until a feed
showed a comment as decided. Generated from the scenario files by `make docs`.
"""

NOT_MEASURED = "Not measured yet."
_MEASURED = re.compile(r"<!-- measured: (\S+) -->\n(.*?)\n<!-- /measured -->", re.DOTALL)
_ENDPOINTS = ("read_feed", "create_post", "create_comment")
_SIGNS = {"holds": "✓", "fails": "✗", "not measured": "?"}


def document(blocks: Mapping[str, str]) -> str:
    """The whole page. `blocks`: the measured block of each scenario, by its name."""
    scenarios = catalogue.builtin_scenarios()
    contents = [
        f"- [{scenario.title}](#{scenario.name}): `{scenario.name}`" for scenario in scenarios
    ]
    chapters = [
        _chapter(scenario, blocks.get(scenario.name, NOT_MEASURED)) for scenario in scenarios
    ]
    return "\n\n".join([HEAD.strip(), "\n".join(contents), *chapters]) + "\n"


def extract_blocks(text: str) -> dict[str, str]:
    """The measured blocks of an existing document, by scenario name."""
    return {found[1]: found[2] for found in _MEASURED.finditer(text)}


def readme(text: str) -> str:
    """The README with the kept screen of one run in place of the one that it shows."""
    screen = _screen(*measured.read()[README_RUN]).removeprefix("```text\n")
    return re.sub(r"(?<=```\n)A DOWNED SERVICE.*?\n```", lambda _: screen, text, flags=re.DOTALL)


def kept_blocks() -> dict[str, str]:
    """The measured blocks of the kept results, by scenario name."""
    return {name: measured_block(*run) for name, run in measured.read().items()}


def measured_block(result: RunResult, samples: Sequence[Sample] = ()) -> str:
    """The measured block of one run: the screen of `lab run`, the answers, the expectations, and
    the predictions of theory.

    For an invalid run, only the problems.
    """
    blocks = [_run_conditions(result)]
    if not result.valid:
        blocks += ["The run was invalid, so it is no result:"]
        blocks += [f"- {problem}" for problem in result.problems]
        return "\n\n".join(blocks)
    blocks += [_screen(result, samples), _answers(result), _expectations(result)]
    if result.predictions:
        blocks += [_predictions(result)]
    return "\n\n".join(blocks)


def _chapter(scenario: Scenario, measured_block: str) -> str:
    claims = ", ".join(f"`{claim}`" for claim in scenario.claims) or "none"
    tags = ", ".join(scenario.tags) or "none"
    rows = [
        (f"`{name}`", variant.arrangement, _format_options(variant.options))
        for name, variant in scenario.variants.items()
    ]
    blocks = [
        f'<a id="{scenario.name}"></a>\n\n## {scenario.title}',
        f"`lab run {scenario.name}` · tags: {tags} · claims: {claims}",
        f"**Predict first.** {_join_lines(scenario.question)}",
        _table(("variant", "arrangement", "switches"), rows),
        "\n".join(
            f"- {label}: {line}" for label, line in scenario_facts(scenario) if label != "variants"
        ),
        f"<!-- measured: {scenario.name} -->\n{measured_block}\n<!-- /measured -->",
        *(
            _join_lines(paragraph)
            for paragraph in scenario.explain.strip().split("\n\n")
            if paragraph
        ),
    ]
    return "\n\n".join(blocks)


def _run_conditions(result: RunResult) -> str:
    environment = result.environment
    cores, processor = environment.get("cores"), environment.get("processor")
    machine = f"{cores} cores of {processor}, Python {environment.get('python')}"
    kind = ", quick" if result.quick else ""
    return f"*One run, seed {result.seed}{kind}, on {result.started[:10]}: {machine}.*"


def _screen(result: RunResult, samples: Sequence[Sample]) -> str:
    answer = build_answer(result, samples)
    text = notebook.as_text(lambda console: render_answer(answer, console), width=80)
    return f"```text\n{text.replace('```', '')}\n```"


def _answers(result: RunResult) -> str:
    """Success rate and p50 (ms) by variant and phase, and the p50 until comments are visible."""
    headings = ("variant", "phase", *(f"{name}: good, p50" for name in _ENDPOINTS), "visible p50")
    rows = []
    for variant in result.variants:
        for phase, figures in variant.phases.items():
            cells = [_success_and_p50(figures.endpoints.get(name)) for name in _ENDPOINTS]
            visible = _visible_p50(figures.endpoints.get("create_comment"))
            rows.append((f"`{variant.name}`", phase, *cells, visible))
    return _table(headings, rows)


def _success_and_p50(endpoint: EndpointResult | None) -> str:
    if endpoint is None or not endpoint.sent:
        return formatting.NONE
    return f"{formatting.success(endpoint.success)}, {formatting.ms(endpoint.latency_ms.p50)} ms"


def _visible_p50(endpoint: EndpointResult | None) -> str:
    visible = endpoint.visible_ms if endpoint else None
    if visible is None or visible.p50 is None:
        return formatting.NONE
    return f"{formatting.ms(visible.p50)} ms"


def _expectations(result: RunResult) -> str:
    rows = []
    for expectation in result.expectations:
        values = ", ".join(
            f"`{path}` {format_value(value, formatting.NONE)}"
            for path, value in expectation.values.items()
        )
        claim = f" (`{expectation.claim}`)" if expectation.claim else ""
        verdict = f"{_SIGNS[expectation.verdict]} {expectation.verdict}"
        rows.append((verdict, f"{expectation.says}{claim}", values))
    return _table(("", "expected", "measured"), rows)


def _predictions(result: RunResult) -> str:
    rows = [
        (
            prediction.says,
            format_value(prediction.predicted, formatting.NONE),
            sections.interval(prediction),
            format_value(prediction.measured, formatting.NONE),
            formatting.NONE if prediction.deviation is None else f"{prediction.deviation:+.0%}",
            prediction.because if prediction.agrees is False else "",
        )
        for prediction in result.predictions
    ]
    return _table(("theory", "predicted", "interval", "measured", "off by", "because"), rows)


def _format_options(options: Mapping[str, object]) -> str:
    return ", ".join(f"`{name} = {dumps(value)}`" for name, value in options.items()) or "–"


def _join_lines(text: str) -> str:
    return " ".join(text.split())


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    for row in rows:
        cells = (_join_lines(cell).replace("|", "\\|") for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    for name in catalogue.builtin_names() if arguments == ["all"] else arguments:
        result, samples = _measure(name)
        measured.keep(result, samples)
        sys.stdout.write(f"{name}: {'measured' if result.valid else 'no result'}\n")
    PAGE.write_text(document(kept_blocks()), "utf-8")
    README.write_text(readme(README.read_text("utf-8")), "utf-8")


def _measure(name: str) -> tuple[RunResult, list[Sample]]:
    """The first run in which all holds, or else the last one."""
    for _ in range(ATTEMPTS):
        with TemporaryDirectory(prefix="lab-docs-") as folder:
            result = asyncio.run(Run(catalogue.find(name), Path(folder))())
            samples = ChartData.read(result, Path(folder)).samples
        if result.valid and all(one.verdict == "holds" for one in result.expectations):
            break
    return result, samples


if __name__ == "__main__":
    main(sys.argv[1:])
