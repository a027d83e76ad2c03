"""Small networks whose behaviour is known in closed form, and the run of one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lab.simulation.fleet.engine import run_world
from lab.simulation.fleet.network import Network
from lab.simulation.fleet.parameters import Empirical, shipped_parameters
from lab.simulation.fleet.world import FOREVER_S, OK, RUN, new_world


class SmallNetwork(Network):
    """A network with exponential times and exact numbers of workers. Times in seconds."""

    def __init__(self, seed: int = 7) -> None:
        super().__init__(shipped_parameters(), new_world(seed))
        self.no_time = self.dist(Empirical.constant(0))
        self.client = self.policy(timeout_s=FOREVER_S)
        self.policy(timeout_s=FOREVER_S)  # of writes
        self.world["restart"] = self.world["reconnect"] = self.no_time

    def exponential(self, mean_s: float) -> int:
        number = self.dist(Empirical.constant(mean_s * 1_000))
        self.world["dist_n"][number] = 0
        return number

    def service(self, workers: int, cores: int | None = None) -> int:
        number = self.station("hop", f"hop-{len(self.stations) + 1}", 0)
        self.world["workers"][number] = workers
        self.world["cores"][number] = workers if cores is None else cores
        return number

    def entry(self, handler: int, kind: int = 0) -> None:
        station = self._handler_station[handler]
        first = self.targets(-1, [(station, handler, 1.0)], self.no_time)
        self.world["entry"][kind] = kind, kind + 1
        self.world["entry_tgt"][kind] = first

    def faults(self, rows: Sequence[Sequence[float]]) -> None:
        self.world["faults"] = len(rows)
        for number, row in enumerate(rows):
            self.world["fault"][number] = row

    def run(self, at_s: Any, kinds: Any = None, until_s: float = FOREVER_S) -> Any:
        kinds = np.zeros(len(at_s), np.int8) if kinds is None else kinds
        run_world(self.world, at_s, kinds, self.queues, until_s)
        assert not self.world["full"]
        return self.world

    def latency_s(self, count: int) -> Any:
        return self.world["r_latency"][:count]

    def good(self, count: int) -> Any:
        return self.world["r_error"][:count] == OK + 1


def arrivals(rate: float, count: int, seed: int = 7) -> Any:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))


def compute(dist: int) -> tuple[int, int, int, int]:
    return RUN, dist, 1, 0


def held_chain(seed: int, depth: int, mean_s: float, workers: int) -> SmallNetwork:
    """A chain of services that compute, call the next one, and hold their worker meanwhile."""
    network = SmallNetwork(seed)
    work = network.exponential(mean_s)
    plain = network.policy(timeout_s=FOREVER_S)
    following: tuple[int, int] | None = None
    for _ in range(depth):
        station = network.service(workers)
        steps = [compute(work)]
        if following:
            steps.append(network.call(station, [(*following, 1.0)], network.no_time, plain))
        following = station, network.handler(station, steps)
    assert following
    network.entry(following[1])
    return network
