"""A saved run without a run: a result, its samples and readings, as files in a folder.

Two or more variants at a steady rate for six seconds. In the middle two seconds, `comments` is slow
for the chain: a part of its requests fails; on the bus a lag builds up.
"""

from collections.abc import Sequence
from pathlib import Path

from lab.experiment.lag import Reading, write_lag
from lab.load.metrics import phase_figures
from lab.load.samples import WRITES, Sample, write_samples
from lab.results.result import (
    ConsumerLag,
    Expectation,
    FaultProof,
    Guess,
    PhaseFigures,
    Prediction,
    Result,
    Stage,
    Timeline,
    Variant,
    Window,
)

STAGES = (("before", 0.5, 2.5), ("during", 2.5, 4.5), ("after", 4.5, 6.5))
SLOW_MS, QUICK_MS = 300.0, 4.0
SHOWN_LATER_MS = 20.0
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
            hurt = place == 0 and phase_at(at_s) == "during"
            endpoint = ("read_feed", "create_post", "create_comment")[number % 3]
            ok = not (hurt and number % 9 < 3)
            latency_ms = (SLOW_MS if hurt else QUICK_MS + place) + number % 7
            seen_ms = latency_ms + SHOWN_LATER_MS if ok and endpoint in WRITES else None
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
                    visible_ms=seen_ms,
                )
            )
    return made


def readings(variant: str = "async-bus") -> list[Reading]:
    """Ten readings a second: the lag grows by 20/s in `during`, and is 0 a second later."""
    made = []
    for tenth in range(65):
        t = tenth / 10
        lag = 20 * (t - 2.5) if 2.5 <= t < 4.5 else max(0.0, 40 - 40 * (t - 4.5)) if t > 4.5 else 0
        head = 10 * tenth
        made.append(Reading(t, variant, "query", head, head - round(lag), head, True))
    return made


def result(of: Sequence[Sample], variants: Sequence[str] = BOTH, **more: object) -> Result:
    """The result that belongs to the samples, with everything a chart can show."""
    return Result.model_validate(
        {
            "scenario": "slow-service",
            "title": "A slow service",
            "question": "Who waits?",
            "explain": "One paragraph.\n\nAnother paragraph.",
            "seed": 7,
            "started": "2026-01-01T10:00:00+00:00",
            "environment": {"processor": "one of sand", "cores": 2, "python": "3.11.2"},
            "variants": [_variant(name, of) for name in variants],
            "timeline": Timeline(
                stages=[Stage(name=a, from_s=b, until_s=c) for a, b, c in STAGES],
                windows=[
                    Window(
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
                    measured=303.0,
                    deviation=0.01,
                    agrees=True,
                )
            ],
            **more,
        }
    )


def _variant(name: str, of: Sequence[Sample]) -> Variant:
    own = [sample for sample in of if sample.variant == name]
    figures = phase_figures(own, {phase: ends - begins for phase, begins, ends in STAGES})
    return Variant(
        name=name,
        arrangement=name if name in BOTH else "sync-chain",
        phases={phase: PhaseFigures.model_validate(found) for phase, found in figures.items()},
        faults=[FaultProof(kind="latency", target="comments", acted=True, evidence={"delayed": 9})],
        lag={"query": ConsumerLag(max=40, drained_seconds=1.0)} if name == "async-bus" else {},
    )


def kept(folder: Path, variants: Sequence[str] = BOTH, count: int = 120, **more: object) -> Result:
    """The same on disk, as a run saves it."""
    of = samples(variants, count)
    made = result(of, variants, **more)
    write_samples(folder / "samples.csv", of)
    write_lag(folder / "lag.csv", readings())
    made.save(folder / "result.json")
    return made


def hostile(typed: str) -> Result:
    """A result with the text `typed` in every field that a user can fill."""
    names = (typed[:200], f"2{typed[:190]}")
    of = result(samples(names), names)
    of.scenario = of.title = of.question = of.explain = typed
    of.environment = {typed: {typed: typed}}
    of.problems = [typed]
    of.timeline.windows[0].target = of.timeline.stages[0].name = typed
    of.timeline.windows[0].settings = {typed: typed}
    of.predictions[0].says = of.predictions[0].because = typed
    of.expectations = [
        Expectation(says=typed, claim=typed, that=typed, verdict="fails", expected=typed)
    ]
    of.guesses = [Guess(question=typed, asks=typed, variant=typed, guessed=typed)]
    for variant in of.variants:
        variant.notes = [typed]
        variant.options = {typed: typed}
        variant.databases = {typed: [typed]}
        variant.faults = [
            FaultProof(kind=typed, target=typed, acted=False, evidence={typed: typed})
        ]
        variant.phases = {f"{name} {typed}": one for name, one in variant.phases.items()}
    return of
