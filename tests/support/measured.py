"""The kept results of the built-in scenarios: one run of each, as `docs/scenarios.md` shows it.

One compressed file has a line of JSON for each. Of the samples only what a strip shows is kept. The
texts of an answer are those of the scenario file as it is now.
"""

import json
import lzma
from pathlib import Path

from lab.load.samples import Sample
from lab.results.result import AnswerTexts, RunResult
from lab.scenarios import catalogue

FILE = Path(__file__).parent / "measured.ndjson.xz"

MeasuredRun = tuple[RunResult, list[Sample]]


def read() -> dict[str, MeasuredRun]:
    """By name of the scenario: the result, and its samples without latencies."""
    lines = lzma.decompress(FILE.read_bytes()).decode().splitlines() if FILE.exists() else []
    return dict(_parsed(json.loads(line)) for line in lines)


def keep(result: RunResult, samples: list[Sample]) -> None:
    """Replace the kept result of this scenario."""
    runs = read() | {result.scenario: (result, samples)}
    lines = [_line(*runs[name]) for name in catalogue.builtin_names() if name in runs]
    FILE.write_bytes(lzma.compress("\n".join(lines).encode(), preset=9))


def _line(result: RunResult, samples: list[Sample]) -> str:
    rows = [
        (one.variant, one.phase, one.endpoint, round(one.intended_s, 2), one.ok)
        for one in samples
        if not one.dropped
    ]
    document = json.loads(result.model_dump_json(exclude_defaults=True))
    return json.dumps({"result": document, "samples": rows}, separators=(",", ":"))


def _parsed(line: dict[str, object]) -> tuple[str, MeasuredRun]:
    result = RunResult.model_validate(line["result"])
    texts = catalogue.find(result.scenario).answer.model_dump()
    result.answer = AnswerTexts.model_validate(texts)
    rows = line["samples"]
    assert isinstance(rows, list)
    samples = [
        Sample(variant, phase, endpoint, at_s, 0.0, 0.0, 200 if ok else 503, ok=ok)
        for variant, phase, endpoint, at_s, ok in rows
    ]
    return result.scenario, (result, samples)
