"""Throughput to three consumers, in events per second, of the lab's bus and of two others.

The `log` engine is compared with the `nats` engine, whose server always syncs as well, and with the
course's own bus in Node. They take turns, so that a slow moment of the machine hits each. "N in
flight" means one publisher with N appends of one event each in flight.
"""

from collections.abc import Iterator

from tests.bench.buses import at_once, bus, events, in_batches, nats_is_missing, rate_through
from tests.bench.node import NodeMissing, node_modules, rate_through_node
from tests.bench.publisher import publish_singly
from tests.bench.table import Figure, at_least, missing, shown

RUNS = 5
IN_FLIGHT = 64
BATCH = 64
BATCH_PUBLISHERS = 4
ONE_BY_ONE = 3_000
THROUGH_NATS = 12_000
THROUGH_LOG = 40_000
IN_BATCHES = 128_000
THROUGH_NODE = 3_000

_WHAT = "durable events/s to 3 consumers"


def figures() -> Iterator[Figure]:
    yield at_least(
        f"{_WHAT} through log, 64 publishers in flight, a POST an event",
        9_000,
        [_a_post_an_event() for _ in range(RUNS)],
        "events/s",
    )
    yield at_least(
        f"{_WHAT} through log, 4 publishers, each publishing batches of {BATCH}",
        40_000,
        [_batches() for _ in range(RUNS)],
        "events/s",
    )
    yield from _beside_nats()
    yield from _beside_node()


def _beside_nats() -> Iterator[Figure]:
    if reason := nats_is_missing():
        yield missing(f"{_WHAT}, log beside nats", reason)
        return
    one = [(_singly("log", ONE_BY_ONE, 1), _singly("nats", ONE_BY_ONE, 1)) for _ in range(RUNS)]
    yield from _compared("one by one", one, 0.8)
    many = [
        (_singly("log", THROUGH_LOG, IN_FLIGHT), _singly("nats", THROUGH_NATS, IN_FLIGHT))
        for _ in range(RUNS)
    ]
    yield from _compared(f"{IN_FLIGHT} in flight", many, 4)


def _compared(how: str, runs: list[tuple[float, float]], least: float) -> Iterator[Figure]:
    yield shown(f"{_WHAT}, {how}, through log", [log for log, _ in runs], "events/s")
    yield shown(f"{_WHAT}, {how}, through nats", [its for _, its in runs], "events/s")
    yield at_least(f"{_WHAT}, {how}: log, in nats", least, [log / its for log, its in runs], "×")


def _beside_node() -> Iterator[Figure]:
    what = f"events/s to 3 consumers, {IN_FLIGHT} in flight"
    try:
        with node_modules() as folder:
            runs = [
                (
                    _singly("log", THROUGH_LOG, IN_FLIGHT),
                    rate_through_node(folder, THROUGH_NODE, IN_FLIGHT),
                )
                for _ in range(RUNS)
            ]
    except NodeMissing as error:
        yield missing(f"{what}: log, in the course's bus in Node", str(error))
        return
    in_node = "through the course's bus in Node (express, axios, in memory)"
    yield shown(f"{what}, {in_node}", [node for _, node in runs], "events/s")
    yield at_least(
        f"{what}: log (on disk), in the course's bus in Node (in memory)",
        8,
        [log / node for log, node in runs],
        "×",
    )


def _singly(engine: str, count: int, in_flight: int) -> float:
    with bus(engine) as address:
        return rate_through(address, events(count), at_once(in_flight))


def _a_post_an_event() -> float:
    async def publish(address: str, envelopes: list[str]) -> None:
        await publish_singly(address, envelopes, IN_FLIGHT)

    with bus("log") as address:
        return rate_through(address, events(30_000), publish)


def _batches() -> float:
    with bus("log") as address:
        return rate_through(address, events(IN_BATCHES), in_batches(BATCH, BATCH_PUBLISHERS))
