"""The recorded states of `tests/live/states.ndjson`: what was measured, and what was true."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lab.live.figures import PaneFigures, measure_pane
from lab.live.panes import Pane
from tests.support.live_world import NODE

PATH = Path(__file__).parent.parent / "live" / "states.ndjson"


@dataclass(frozen=True)
class PaneState:
    """One pane at one moment. `fault`: what is injected, or was until just now; `ok`, `failed`: the
    reads of a client of the test's own in the same seconds."""

    arrangement: str
    phase: str
    fault: tuple[str, str]
    active: bool
    ok: int
    failed: int
    bus: str
    figures: PaneFigures

    @property
    def client_share(self) -> float:
        return self.ok / max(1, self.ok + self.failed)


def _spread(second: dict[str, Any]) -> list[dict[str, Any]]:
    """A recorded second as ten ticks: the counts are in the first."""
    nodes = {node: {**NODE, **state} for node, state in second["nodes"].items()}
    first = {**second, "nodes": nodes}
    empty = {"ok": 0, "failed": 0, "errors": {}}
    later = {**first, **dict.fromkeys(("reads", "posts", "comments"), empty)}
    later |= dict.fromkeys(("read_ms", "answered_ms", "visible_ms"))
    return [first, *[later] * 9]


def _to_state(entry: dict[str, Any]) -> PaneState:
    fault, name = entry["fault"], entry["arrangement"]
    ticks = [tick for second in entry["seconds"] for tick in _spread(second)]
    pane = Pane(name, name, {"bus": entry["bus"]} if entry["bus"] else {})
    healed_ago_s = None if entry["active"] or entry["phase"] == "calm" else entry["since_s"]
    faults = [fault] if entry["active"] and fault else []
    return PaneState(
        arrangement=name,
        phase=entry["phase"],
        fault=(fault["kind"], fault["target"]) if fault else ("", ""),
        active=entry["active"] and fault is not None,
        ok=entry["client"]["ok"],
        failed=entry["client"]["failed"],
        bus=entry["bus"],
        figures=measure_pane(pane, ticks, faults, healed_ago_s),
    )


@cache
def recorded_states() -> tuple[PaneState, ...]:
    return tuple(_to_state(json.loads(line)) for line in PATH.read_text().splitlines())
