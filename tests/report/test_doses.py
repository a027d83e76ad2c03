"""The same fault is another dose for a consumer of events, and the report says so."""

from typing import Any

from lab.report.doses import doses
from lab.results.result import FaultEvidence, RunResult, VariantResult


def variant(name: str, kind: str, consumed: bool, **evidence: Any) -> VariantResult:
    fault = FaultEvidence(
        kind=kind, target="comments", acted=True, phase="during", evidence=evidence
    )
    events = {"comments": ["CommentModerated of moderation"]} if consumed else {}
    return VariantResult(name=name, arrangement=name, faults=[fault], consumed=events)


def said(*variants: VariantResult) -> list[str]:
    return list(doses(RunResult(scenario="s", seed=7, started="now", variants=list(variants))))


def test_requests_are_told_from_deliveries_and_events() -> None:
    bus = variant("bus", "latency", True, visitors=17, acted=17)
    each = variant(
        "each", "latency", True, visitors=30, acted=30, settings={"ms": 300, "per_event": True}
    )
    assert said(variant("chain", "latency", False, visitors=43, acted=43), bus, each) == [
        "Dose of the fault on `comments` (latency): 43 requests in chain, 17 requests and "
        "deliveries of events in bus, 30 requests and events in each."
    ]


def test_a_share_names_what_it_is_a_share_of() -> None:
    chain = variant("chain", "error", False, visitors=33, acted=9)
    (sentence,) = said(chain, variant("bus", "error", True, visitors=73, acted=20))
    assert "9 of 33 requests in chain, 20 of 73 requests and deliveries" in sentence


def test_an_equal_dose_needs_no_sentence() -> None:
    chains = [variant(name, "latency", False, acted=9) for name in ("chain", "again")]
    assert said(*chains) == []
    assert said(variant("chain", "down", False), variant("bus", "down", True)) == []
    assert said(
        variant("chain", "drop", False, acted=1), variant("bus", "drop", True, acted=1)
    ) == ([])
    assert said(chains[0], variant("bus", "latency", True, acted=0)) == []
