"""Scenarios as a Markdown document: a chapter each, with the measurements of one run.

The description and the explanation come from the scenario's file. The measurements of a chapter are
enclosed in two HTML comments, so they can be reused when only the text around them changes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json import dumps

from lab.report import formatting
from lab.report.terminal.listing import scenario_facts
from lab.results.paths import format_value
from lab.results.result import EndpointResult, RunResult, VariantResult
from lab.scenarios.scenario import Scenario

NOT_MEASURED = "Not measured yet."
_MEASURED = re.compile(r"<!-- measured: (\S+) -->\n(.*?)\n<!-- /measured -->", re.DOTALL)
_ENDPOINTS = ("read_feed", "create_post", "create_comment")
_SIGNS = {"holds": "✓", "fails": "✗", "not measured": "?"}


def document(scenarios: Sequence[Scenario], head: str, blocks: Mapping[str, str]) -> str:
    """The document: `head`, contents, chapters in order. `measured`: blocks by scenario name."""
    contents = [f"- [{one.title}](#{one.name}): `{one.name}`" for one in scenarios]
    chapters = [_chapter(one, blocks.get(one.name, NOT_MEASURED)) for one in scenarios]
    return "\n\n".join([head.strip(), "\n".join(contents), *chapters]) + "\n"


def extract_blocks(text: str) -> dict[str, str]:
    """The measured blocks of an existing document, by scenario name."""
    return {found[1]: found[2] for found in _MEASURED.finditer(text)}


def measured_block(result: RunResult) -> str:
    """The measured block of one run: answers, expectations and predictions of theory.

    For an invalid run, only the problems.
    """
    blocks = [_run_conditions(result)]
    if not result.valid:
        blocks += ["The run was not honest, so it is no result:"]
        blocks += [f"- {problem}" for problem in result.problems]
        return "\n\n".join(blocks)
    blocks += [_answers(result), _expectations(result)]
    if result.predictions:
        blocks += [_predictions(result)]
    return "\n\n".join(blocks)


def _chapter(scenario: Scenario, measured_block: str) -> str:
    claims = ", ".join(f"`{claim}`" for claim in scenario.claims) or "none"
    rows = [
        (f"`{name}`", of.arrangement, _format_options(of.options))
        for name, of in scenario.variants.items()
    ]
    blocks = [
        f'<a id="{scenario.name}"></a>\n\n## {scenario.title}',
        f"`lab run {scenario.name}` · tags: {', '.join(scenario.tags) or 'none'} · claims: {claims}",
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
    machine = f"{environment.get('cores')} cores of {environment.get('processor')}, Python {environment.get('python')}"
    kind = ", quick" if result.quick else ""
    return f"*One run, seed {result.seed}{kind}, on {result.started[:10]}: {machine}.*"


def _answers(result: RunResult) -> str:
    """Success rate and p50 (ms) by variant and phase, and the p50 until comments are visible."""
    headings = ("variant", "phase", *(f"{name}: good, p50" for name in _ENDPOINTS), "visible p50")
    rows = [
        (
            f"`{variant.name}`",
            phase,
            *map(_success_and_p50, _endpoints(variant, phase)),
            _visible_p50(variant, phase),
        )
        for variant in result.variants
        for phase in variant.phases
    ]
    return _table(headings, rows)


def _endpoints(variant: VariantResult, phase: str) -> list[EndpointResult | None]:
    return [variant.phases[phase].endpoints.get(name) for name in _ENDPOINTS]


def _success_and_p50(endpoint: EndpointResult | None) -> str:
    if endpoint is None or not endpoint.sent:
        return formatting.NONE
    return f"{formatting.success(endpoint.success)}, {formatting.ms(endpoint.latency_ms.p50)} ms"


def _visible_p50(variant: VariantResult, phase: str) -> str:
    endpoint = variant.phases[phase].endpoints.get("create_comment")
    visible = endpoint.visible_ms if endpoint else None
    return (
        f"{formatting.ms(visible.p50)} ms"
        if visible and visible.p50 is not None
        else formatting.NONE
    )


def _expectations(result: RunResult) -> str:
    rows = []
    for one in result.expectations:
        values = ", ".join(
            f"`{path}` {format_value(value, formatting.NONE)}" for path, value in one.values.items()
        )
        claim = f" (`{one.claim}`)" if one.claim else ""
        rows.append((f"{_SIGNS[one.verdict]} {one.verdict}", f"{one.says}{claim}", values))
    return _table(("", "expected", "measured"), rows)


def _predictions(result: RunResult) -> str:
    rows = [
        (
            one.says,
            format_value(one.predicted, formatting.NONE),
            format_value(one.measured, formatting.NONE),
            formatting.NONE if one.deviation is None else f"{one.deviation:+.0%}",
            "" if one.agrees is not False else one.because,
        )
        for one in result.predictions
    ]
    return _table(("theory", "predicted", "measured", "off by", "because"), rows)


def _format_options(options: Mapping[str, object]) -> str:
    return ", ".join(f"`{name} = {dumps(value)}`" for name, value in options.items()) or "–"


def _join_lines(text: str) -> str:
    return " ".join(text.split())


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(_table_lines(headings, rows))


def _table_lines(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(_join_lines(cell).replace('|', chr(92) + '|') for cell in row)} |"
