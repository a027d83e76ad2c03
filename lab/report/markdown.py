"""Scenarios as a Markdown document: a chapter each, with the measurements of one run.

The description and the explanation come from the scenario's file. The measurements of a chapter are
enclosed in two HTML comments, so they can be reused when only the text around them changes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json import dumps

from lab.report import formatting
from lab.report.terminal.listing import facts
from lab.results.paths import written
from lab.results.result import Endpoint, Result, Variant
from lab.scenarios.scenario import Scenario

NOT_YET = "Not measured yet."
_MEASURED = re.compile(r"<!-- measured: (\S+) -->\n(.*?)\n<!-- /measured -->", re.DOTALL)
_ENDPOINTS = ("read_feed", "create_post", "create_comment")
_SIGNS = {"holds": "✓", "fails": "✗", "not measured": "?"}


def document(scenarios: Sequence[Scenario], head: str, measured: Mapping[str, str]) -> str:
    """The document: `head`, contents, chapters in order. `measured`: blocks by scenario name."""
    contents = [f"- [{one.title}](#{one.name}): `{one.name}`" for one in scenarios]
    chapters = [_chapter(one, measured.get(one.name, NOT_YET)) for one in scenarios]
    return "\n\n".join([head.strip(), "\n".join(contents), *chapters]) + "\n"


def kept_in(text: str) -> dict[str, str]:
    """The measured blocks of an existing document, by scenario name."""
    return {found[1]: found[2] for found in _MEASURED.finditer(text)}


def measured(result: Result) -> str:
    """The measured block of one run: answers, expectations and predictions of theory.

    For an invalid run, only the problems.
    """
    blocks = [_whence(result)]
    if not result.valid:
        blocks += ["The run was not honest, so it is no result:"]
        blocks += [f"- {problem}" for problem in result.problems]
        return "\n\n".join(blocks)
    blocks += [_answers(result), _expectations(result)]
    if result.predictions:
        blocks += [_predictions(result)]
    return "\n\n".join(blocks)


def _chapter(one: Scenario, measured_block: str) -> str:
    claims = ", ".join(f"`{claim}`" for claim in one.claims) or "none"
    rows = [
        (f"`{name}`", of.arrangement, _options(of.options)) for name, of in one.variants.items()
    ]
    blocks = [
        f'<a id="{one.name}"></a>\n\n## {one.title}',
        f"`lab run {one.name}` · tags: {', '.join(one.tags) or 'none'} · claims: {claims}",
        f"**Predict first.** {_flowing(one.question)}",
        _table(("variant", "arrangement", "switches"), rows),
        "\n".join(f"- {label}: {line}" for label, line in facts(one) if label != "variants"),
        f"<!-- measured: {one.name} -->\n{measured_block}\n<!-- /measured -->",
        *(_flowing(paragraph) for paragraph in one.explain.strip().split("\n\n") if paragraph),
    ]
    return "\n\n".join(blocks)


def _whence(result: Result) -> str:
    of = result.environment
    machine = f"{of.get('cores')} cores of {of.get('processor')}, Python {of.get('python')}"
    kind = ", quick" if result.quick else ""
    return f"*One run, seed {result.seed}{kind}, on {result.started[:10]}: {machine}.*"


def _answers(result: Result) -> str:
    """Success rate and p50 (ms) by variant and phase, and the p50 until comments are visible."""
    heads = ("variant", "phase", *(f"{name}: good, p50" for name in _ENDPOINTS), "visible p50")
    rows = [
        (f"`{variant.name}`", phase, *map(_good, _of(variant, phase)), _seen(variant, phase))
        for variant in result.variants
        for phase in variant.phases
    ]
    return _table(heads, rows)


def _of(variant: Variant, phase: str) -> list[Endpoint | None]:
    return [variant.phases[phase].endpoints.get(name) for name in _ENDPOINTS]


def _good(of: Endpoint | None) -> str:
    if of is None or not of.sent:
        return formatting.NONE
    return f"{formatting.success(of.success)}, {formatting.ms(of.latency_ms.p50)} ms"


def _seen(variant: Variant, phase: str) -> str:
    of = variant.phases[phase].endpoints.get("create_comment")
    seen = of.visible_ms if of else None
    return f"{formatting.ms(seen.p50)} ms" if seen and seen.p50 is not None else formatting.NONE


def _expectations(result: Result) -> str:
    rows = []
    for one in result.expectations:
        values = ", ".join(
            f"`{path}` {written(value, formatting.NONE)}" for path, value in one.values.items()
        )
        claim = f" (`{one.claim}`)" if one.claim else ""
        rows.append((f"{_SIGNS[one.verdict]} {one.verdict}", f"{one.says}{claim}", values))
    return _table(("", "expected", "measured"), rows)


def _predictions(result: Result) -> str:
    rows = [
        (
            one.says,
            written(one.predicted, formatting.NONE),
            written(one.measured, formatting.NONE),
            formatting.NONE if one.deviation is None else f"{one.deviation:+.0%}",
            "" if one.agrees is not False else one.because,
        )
        for one in result.predictions
    ]
    return _table(("theory", "predicted", "measured", "off by", "because"), rows)


def _options(options: Mapping[str, object]) -> str:
    return ", ".join(f"`{name} = {dumps(value)}`" for name, value in options.items()) or "–"


def _flowing(text: str) -> str:
    return " ".join(text.split())


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(_lines(heads, rows))


def _lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(_flowing(cell).replace('|', chr(92) + '|') for cell in row)} |"
