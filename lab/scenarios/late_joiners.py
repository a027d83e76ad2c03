"""Histories, newcomers and surges: what a scenario may have, and in which variants.

A history and a newcomer need a bus that keeps its events, and services that consume them. In the
chain no events are kept, and a second replica has nothing to catch up with.

In a surge, the arrival rate in `during` is different, usually higher (`[load] during_rate`). It is
not a fault, but its effects are measured like those of a fault: how long consumers take to catch
up, and how long it takes until requests are served as before.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lab.cluster.bus_engines import engine
from lab.cluster.fault_rules import consumers_of
from lab.domain.services import NON_PUBLISHERS, SERVICES
from lab.scenarios.spec import HistorySpec, LoadSpec, NewcomerSpec, PhasesSpec, VariantSpec
from lab.support.text import did_you_mean

# ── Histories and newcomers


def variants_with_event_log(variants: Mapping[str, VariantSpec]) -> tuple[str, ...]:
    """The variants whose bus keeps events, and whose services consume them."""
    return tuple(
        name
        for name, spec in variants.items()
        if spec.base_arrangement is not None
        and consumers_of(spec.base_arrangement)
        and engine(spec.options) == "log"
    )


def halved(
    history: HistorySpec | None, newcomers: Sequence[NewcomerSpec], share: float
) -> dict[str, Any]:
    """Both for a run in half the time: half the events; times of newcomers multiplied by `share`.

    Returned as the keys `history` and `newcomer` of a scenario.
    """
    return {
        "history": history and HistorySpec(events=max(1, history.events // 2)),
        "newcomer": tuple(
            newcomer.model_copy(update={"at": newcomer.at * share}) for newcomer in newcomers
        ),
    }


def late_joiner_problems(
    history: HistorySpec | None,
    newcomers: Sequence[NewcomerSpec],
    variants: Mapping[str, VariantSpec],
    phases: PhasesSpec,
) -> Iterator[str]:
    """The problems of histories and newcomers: one sentence each, beginning with the key."""
    keys = [f"newcomer {number}" for number, _ in enumerate(newcomers, 1)]
    if not variants_with_event_log(variants):
        for key in (*(["history"] if history else []), *keys):
            yield f'{key}: needs a variant of async-bus with bus = "log", which keeps its events.'
    for key, newcomer in zip(keys, newcomers, strict=True):
        if newcomer.service not in SERVICES:
            near = did_you_mean(newcomer.service, NON_PUBLISHERS)
            yield f"{key}: no service {newcomer.service!r}. {near}"
        elif newcomer.service not in NON_PUBLISHERS:
            yield (
                f"{key}: {newcomer.service} publishes events, and two replicas would publish each "
                f"of them twice. Services without events: {', '.join(NON_PUBLISHERS)}."
            )
        if phases.each is not None:
            yield f"{key}: begins in `during`, and with phases.each there is none."
        elif newcomer.at >= phases.during:
            yield f"{key}: would come after the {phases.during:g} s of phases.during. Begin sooner."


# ── Surges


def surge_problems(load: LoadSpec, phases: PhasesSpec) -> Iterator[str]:
    """The problem of a surge, if it has one: a sentence, beginning with the key."""
    if load.during_rate is not None and phases.each is not None:
        yield "load.during_rate: is for the phase `during`, and with phases.each there is none."
