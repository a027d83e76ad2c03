"""Publishes single events through the load's own client, a number of them in flight.

It must cost little: the machine has two cores, and the bus needs one of them.
"""

import asyncio
from time import perf_counter

from lab.support.http_client import HttpClient, HttpOrigin, HttpResult


async def publish_singly(url: str, envelopes: list[str], in_flight: int) -> None:
    """Send one POST per event; returns when each is acknowledged."""
    loop = asyncio.get_running_loop()
    client = HttpClient(loop, in_flight)
    origin = HttpOrigin.from_url(url)
    finished = loop.create_future()
    waiting = iter(envelopes)
    acknowledged = 0

    def send_next() -> None:
        envelope = next(waiting, None)
        if envelope is not None:
            give_up = perf_counter() + 30
            assert client.send("POST", origin, "/events", envelope.encode(), give_up, done)

    def done(outcome: HttpResult) -> None:
        nonlocal acknowledged
        if outcome.status != 201:
            finished.set_exception(RuntimeError(f"not acknowledged: {outcome}"))
            return
        acknowledged += 1
        if acknowledged == len(envelopes):
            finished.set_result(None)
        send_next()

    for _ in range(in_flight):
        send_next()
    await finished
    client.close()
