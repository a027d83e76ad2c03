"""Ten times a second, all that was seen of both halves, as one message for every screen.

A tick is made when the load has reported, for its figures are the ones that change fastest; what
else is in it (how the processes are, what went from whom to whom) is the newest that is known.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from lab.cluster.stack import Stack
from lab.live.hops import MOST_HOPS, Hop, Hops, of_load
from lab.live.load_link import Report
from lab.live.nodes import Nodes

EVERY_MS = 100
_OF_LOAD = (
    *("reads", "writes", "waiting", "unsent", "answered_ms", "read_ms", "visible_ms"),
    *("unseen", "feed_age_ms", "feed_ok"),
)

Tick = dict[str, Any]


class Ticks:
    """Those of one start of the stacks. `began_s`: the moment of `perf_counter` they count from."""

    def __init__(
        self, stacks: Sequence[Stack], nodes: Mapping[str, Nodes], hops: Mapping[str, Hops]
    ) -> None:
        self._stacks, self._nodes, self._hops = stacks, nodes, hops
        self._load: dict[str, Any] = {}

    def of(self, report: Report, began_s: float) -> Tick:
        """The tick that ends with this report."""
        now_unix_s = time.time()
        halves = {
            stack.name: self._half(stack.name, report["halves"][stack.name], now_unix_s)
            for stack in self._stacks
        }
        tick: Tick = {
            "t": round(report["t"] - began_s, 3),
            "halves": halves,
            "lag": {"schedule_p99_ms": report["schedule_p99_ms"]},
        }
        load = {"rate": report["rate"], "mix": report["mix"]}
        if load != self._load:
            self._load = tick["load"] = load
        return tick

    def _half(self, name: str, told: Mapping[str, Any], now_unix_s: float) -> dict[str, Any]:
        between, total = self._hops[name].new()
        # By turns from both, so that a busy chain does not crowd out who asked it.
        calls = [of_load(call, now_unix_s) for call in told["calls"]]
        hops = [*calls, *between[: MOST_HOPS - len(calls)]]
        return {
            **{key: told[key] for key in _OF_LOAD},
            "nodes": self._nodes[name].told(),
            "hops": [_drawn(hop, now_unix_s) for hop in hops],
            "hops_total": total + told["calls_total"],
        }

    def close(self) -> None:
        for hops in self._hops.values():
            hops.close()


def _drawn(hop: Hop, now_unix_s: float) -> list[Any]:
    one, other, kind, what, at_s, took_ms, ok = hop
    at_ms = min(0, round((at_s - now_unix_s) * 1_000))
    return [one, other, kind, what, at_ms, round(took_ms, 1), ok]


def without_hops(tick: Tick) -> Tick:
    """As it is kept for those who come later: what moved then is over."""
    halves = {name: {**half, "hops": []} for name, half in tick["halves"].items()}
    return {**tick, "halves": halves}
