"""The bus beside other durable buses, and beside the disk's own limit.

Every bus has each event on disk before it acknowledges it. "In flight": one publisher with so many
appends of one event each.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.bench.buses import throughput
from tests.bench.ratio import Pair, Row

ONE_BY_ONE = 1_000
IN_FLIGHT = 64
PEERS = {"nats": "JetStream (sync_interval: always)"}
REACH = {"nats": (1.2, 10)}
MANY = {"nats": 5_000}


def _beside(
    engine: str, count: int, theirs: int, in_flight: int
) -> Callable[[], AbstractContextManager[Pair]]:
    @contextmanager
    def pair() -> Iterator[Pair]:
        with (
            throughput(engine, theirs, in_flight) as other,
            throughput("log", count, in_flight) as ours,
        ):
            yield ours, other

    return pair


def _peer(engine: str) -> Iterator[Row]:
    one, many = REACH[engine]
    for name, what, reach, measure in (
        (
            "1",
            "durable events one by one, to 3 consumers",
            one,
            _beside(engine, ONE_BY_ONE, ONE_BY_ONE, 1),
        ),
        (
            "64",
            f"durable events, {IN_FLIGHT} in flight, to 3 consumers",
            many,
            _beside(engine, 20_000, MANY[engine], IN_FLIGHT),
        ),
    ):
        yield Row(
            name=f"bus-{name}-{engine}",
            what=what,
            ours="log",
            other=PEERS[engine],
            unit="events/s",
            reach=reach,
            measure=measure,
        )


ROWS = [row for engine in PEERS for row in _peer(engine)]
