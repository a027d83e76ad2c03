"""When what happened, as the result's document tells it: stages, and windows in which something was
broken or more people came.

Seconds count from the start of the run, as in `samples.csv` and `lag.csv`; the warm-up comes before
the first stage. Of a run in which the variants came one after another, each has these times to
itself.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from lab.scenarios.timeline import WARM_UP, Phase

SURGE = "surge"


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class Stage(_Part):
    """One phase; `recovering` may be there several times."""

    name: str
    from_s: float
    until_s: float


class Window(_Part):
    """A fault, or a surge of the load (`kind` is then "surge"); `variants` are those it was for."""

    target: str
    kind: str
    from_s: float
    until_s: float
    settings: dict[str, Any] = {}
    variants: list[str] = []


class Timeline(_Part):
    """Stages in order, and windows by their beginning. Both are empty in older documents."""

    stages: list[Stage] = []
    windows: list[Window] = []


def timeline_told(
    phases: Sequence[Phase], variants: Sequence[str], surge: tuple[float, float] | None
) -> Timeline:
    """What a scenario's timeline says. `surge`: from when to when more people come."""
    stages: list[Stage] = []
    windows: dict[tuple[str, str, float], Window] = {}
    begins_s = WARM_UP.seconds
    for phase in phases:
        ends_s = begins_s + phase.seconds
        stages.append(Stage(name=phase.name, from_s=begins_s, until_s=ends_s))
        for one in phase.faults:
            target, from_s = one.group or one.fault.target, begins_s + one.at_s
            window = windows.setdefault(
                (target, one.fault.kind, from_s),
                Window(
                    target=target,
                    kind=one.fault.kind,
                    from_s=from_s,
                    until_s=from_s + one.seconds,
                    settings=one.fault.settings(),
                ),
            )
            window.variants += [name for name in one.variants if name not in window.variants]
        begins_s = ends_s
    found = list(windows.values())
    if surge:
        from_s, until_s = surge
        everybody = list(variants)
        found.append(
            Window(target="load", kind=SURGE, from_s=from_s, until_s=until_s, variants=everybody)
        )
    return Timeline(stages=stages, windows=sorted(found, key=lambda one: one.from_s))
