"""What a scenario may say of a history and of newcomers, and in which variants they make sense.

Both need a bus that keeps what it was told, and services that hear it: in the chain nobody keeps
any news, and a second one of a service has nothing to catch up with.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lab.cluster.engines import engine
from lab.cluster.reach import TELLS_NOTHING, hearers
from lab.domain.directory import SERVICES
from lab.meant import did_you_mean
from lab.scenarios.spec import HistorySpec, NewcomerSpec, PhasesSpec, VariantSpec


def keep_events(variants: Mapping[str, VariantSpec]) -> tuple[str, ...]:
    """The variants whose bus keeps events for services that hear them."""
    return tuple(
        name
        for name, spec in variants.items()
        if spec.made_of is not None and hearers(spec.made_of) and engine(spec.options) == "log"
    )


def halved(
    history: HistorySpec | None, newcomers: Sequence[NewcomerSpec], share: float
) -> dict[str, Any]:
    """Both for a run in half the time: half the events, and each newcomer at its `share`."""
    return {
        "history": history and HistorySpec(events=max(1, history.events // 2)),
        "newcomer": tuple(one.model_copy(update={"at": one.at * share}) for one in newcomers),
    }


def joining_problems(
    history: HistorySpec | None,
    newcomers: Sequence[NewcomerSpec],
    variants: Mapping[str, VariantSpec],
    phases: PhasesSpec,
) -> Iterator[str]:
    """What is wrong with them: one sentence each, the key first."""
    keys = [f"newcomer {number}" for number, _ in enumerate(newcomers, 1)]
    if not keep_events(variants):
        for key in (*(["history"] if history else []), *keys):
            yield f'{key}: needs a variant of async-bus with bus = "log", which keeps its events.'
    for key, one in zip(keys, newcomers, strict=True):
        if one.service not in SERVICES:
            yield f"{key}: no service {one.service!r}. {did_you_mean(one.service, TELLS_NOTHING)}"
        elif one.service not in TELLS_NOTHING:
            yield (
                f"{key}: {one.service} tells events, and two of it would tell each of them twice. "
                f"Known: {', '.join(TELLS_NOTHING)}."
            )
        if phases.each is not None:
            yield f"{key}: comes in `during`, and with phases.each there is none."
        elif one.at >= phases.during:
            yield f"{key}: would come after the {phases.during:g} s of phases.during. Begin sooner."
