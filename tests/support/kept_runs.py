"""A saved run without a run: a result, its samples and readings, as files in a folder.

Two or more variants at a steady rate for six seconds. In the middle two seconds, `comments` is slow
for the chain: a part of its requests fails; on the bus a lag builds up.
"""

from collections.abc import Sequence
from pathlib import Path

from lab.experiment.lag import LagReading, write_lag
from lab.load.metrics import phase_figures
from lab.load.samples import WRITES, Sample, write_samples
from lab.results.result import (
    ConsumerLag,
    Expectation,
    FaultEvidence,
    Guess,
    PhaseResult,
    Prediction,
    RunResult,
    RunTimeline,
    TimelinePhase,
    TimelineWindow,
    VariantResult,
)

STAGES = (("before", 0.5, 2.5), ("during", 2.5, 4.5), ("after", 4.5, 6.5))
SLOW_MS, FAST_MS = 300.0, 4.0
VISIBLE_AFTER_MS = 20.0
BOTH = ("sync-chain", "async-bus")
TEXTS = ("title", "question", "explain", "scenario")


def phase_at(at_s: float, stages: Sequence[tuple[str, float, float]] = STAGES) -> str:
    return next((name for name, begins, ends in stages if begins <= at_s < ends), "warm_up")


def samples(variants: Sequence[str] = BOTH, count: int = 120) -> list[Sample]:
    """`count` samples per variant, evenly from 0 to 6.5 s. Every third request of the first variant
    fails in the phase `during`."""
    made = []
    for place, variant in enumerate(variants):
        for number in range(count):
            at_s = 6.5 * number / count
            affected = place == 0 and phase_at(at_s) == "during"
            endpoint = ("read_feed", "create_post", "create_comment")[number % 3]
            ok = not (affected and number % 9 < 3)
            latency_ms = (SLOW_MS if affected else FAST_MS + place) + number % 7
            visible_ms = latency_ms + VISIBLE_AFTER_MS if ok and endpoint in WRITES else None
            made.append(
                Sample(
                    variant,
                    phase_at(at_s),
                    endpoint,
                    at_s,
                    0.1,
                    latency_ms=latency_ms,
                    status=201 if ok else 503,
                    error="" if ok else "http_503",
                    ok=ok,
                    visible_ms=visible_ms,
                )
            )
    return made


def readings(variant: str = "async-bus") -> list[LagReading]:
    """Ten readings a second: the lag grows by 20/s in `during`, and is 0 a second later."""
    made = []
    for tenth in range(65):
        t = tenth / 10
        lag = 20 * (t - 2.5) if 2.5 <= t < 4.5 else max(0.0, 40 - 40 * (t - 4.5)) if t > 4.5 else 0
        head = 10 * tenth
        made.append(LagReading(t, variant, "query", head, head - round(lag), head, True))
    return made


def result(
    run_samples: Sequence[Sample], variants: Sequence[str] = BOTH, **more: object
) -> RunResult:
    """The result that belongs to the samples, with everything a chart can show."""
    return RunResult.model_validate(
        {
            "scenario": "slow-service",
            "title": "A slow service",
            "question": "Who waits?",
            "explain": "One paragraph.\n\nAnother paragraph.",
            "seed": 7,
            "started": "2026-01-01T10:00:00+00:00",
            "environment": {"processor": "one of sand", "cores": 2, "python": "3.11.2"},
            "variants": [_variant(name, run_samples) for name in variants],
            "timeline": RunTimeline(
                stages=[TimelinePhase(name=a, from_s=b, until_s=c) for a, b, c in STAGES],
                windows=[
                    TimelineWindow(
                        target="comments",
                        kind="latency",
                        from_s=2.5,
                        until_s=4.5,
                        settings={"ms": 300.0},
                        variants=list(variants),
                    )
                ],
            ),
            "expectations": [
                Expectation(
                    says="The feed waits.",
                    claim="slowest-hop",
                    that="sync-chain.during.read_feed.p50 >= 250",
                    verdict="holds",
                    values={"sync-chain.during.read_feed.p50": 303.0},
                )
            ],
            "predictions": [
                Prediction(
                    says="The sum of the hops, ms",
                    predicted=300.0,
                    low=270.0,
                    high=330.0,
                    measured=303.0,
                    deviation=0.01,
                    agrees=True,
                )
            ],
            **more,
        }
    )


def _variant(name: str, run_samples: Sequence[Sample]) -> VariantResult:
    own = [sample for sample in run_samples if sample.variant == name]
    figures = phase_figures(own, {phase: ends - begins for phase, begins, ends in STAGES})
    return VariantResult(
        name=name,
        arrangement=name if name in BOTH else "sync-chain",
        phases={phase: PhaseResult.model_validate(found) for phase, found in figures.items()},
        faults=[
            FaultEvidence(kind="latency", target="comments", acted=True, evidence={"delayed": 9})
        ],
        lag={"query": ConsumerLag(max=40, drained_seconds=1.0)} if name == "async-bus" else {},
    )


def save_run(
    folder: Path, variants: Sequence[str] = BOTH, count: int = 120, **more: object
) -> RunResult:
    """The same on disk, as a run saves it."""
    run_samples = samples(variants, count)
    saved = result(run_samples, variants, **more)
    write_samples(folder / "samples.csv", run_samples)
    write_lag(folder / "lag.csv", readings())
    saved.save(folder / "result.json")
    return saved


def hostile_result(text: str) -> RunResult:
    """A result with the text `typed` in every field that a user can fill."""
    names = (text[:200], f"2{text[:190]}")
    run_result = result(samples(names), names)
    run_result.scenario = run_result.title = run_result.question = run_result.explain = text
    run_result.environment = {text: {text: text}}
    run_result.problems = [text]
    run_result.timeline.windows[0].target = run_result.timeline.stages[0].name = text
    run_result.timeline.windows[0].settings = {text: text}
    run_result.predictions[0].says = run_result.predictions[0].because = text
    run_result.expectations = [
        Expectation(says=text, claim=text, that=text, verdict="fails", expected=text)
    ]
    run_result.guesses = [Guess(question=text, asks=text, variant=text, guessed=text)]
    for variant in run_result.variants:
        variant.notes = [text]
        variant.options = {text: text}
        variant.databases = {text: [text]}
        variant.faults = [FaultEvidence(kind=text, target=text, acted=False, evidence={text: text})]
        variant.phases = {f"{name} {text}": one for name, one in variant.phases.items()}
    return run_result
