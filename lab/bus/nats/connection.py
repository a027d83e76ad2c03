"""One connection to a NATS server, which never reconnects.

The client library can reconnect by itself; the lab turns that off. What was sent into the dead
connection is lost, while what was not sent yet goes out over the new one, so that events would
overtake each other; and a subscription that is carried over may be dead without an error. Here, the
use of a lost connection raises BusUnavailable, and the next call makes a new one.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from lab.bus.base import BusUnavailable

CONNECTED_WITHIN_S = 2.0
# A suspended server keeps its connections open and is silent: it is given up within three pings.
PING_EVERY_S = 1
PINGS_UNANSWERED = 2
# After this window the server forgets ids, and a repeated event would be a second event. The
# server's default, two minutes, is shorter than an outage that an outbox survives.
DUPLICATE_WINDOW_S = 3_600.0
CREATED_BY = "made by sync-async-lab"


@dataclass(eq=False)
class NatsConnection:
    """`lost` is done once the connection is over; then each queue in `readers` gets a None."""

    client: Client
    stream: JetStreamContext
    lost: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    readers: set[asyncio.Queue[Msg | None]] = field(default_factory=set)

    async def close(self) -> None:
        """Close the connection. Can be called more than once; errors are ignored."""
        with suppress(Exception):
            async with asyncio.timeout(CONNECTED_WITHIN_S):
                await self.client.close()
        await self._mark_lost()

    async def _open(self, url: str) -> None:
        async def record_error(error: Exception) -> None:
            errors.append(error)

        errors: list[Exception] = []
        user, password, token = _parse_login(url)
        try:
            async with asyncio.timeout(CONNECTED_WITHIN_S):
                await self.client.connect(
                    f"nats://{_without_login(url)}",
                    user=user,
                    password=password,
                    token=token,
                    allow_reconnect=False,
                    # Also for the first connection: the default is 60 tries, 2 s apart.
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    ping_interval=PING_EVERY_S,
                    max_outstanding_pings=PINGS_UNANSWERED,
                    closed_cb=self._mark_lost,
                    error_cb=record_error,
                )
        except (Error, OSError) as error:
            await self.close()
            raise BusUnavailable(f"{_without_login(url)}: {(errors or [error])[0]!r}") from None

    async def _mark_lost(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
            for reader in self.readers:
                reader.put_nowait(None)


def server_urls(url: str) -> list[str]:
    """The URLs of the servers of `nats://[LOGIN@]HOST:PORT[,HOST:PORT …]`, each with the login."""
    login, at, hosts = urlsplit(url).netloc.rpartition("@")
    return [f"nats://{login}{at}{host}" for host in hosts.split(",")]


async def connect(servers: Sequence[str], answer_within_s: float) -> NatsConnection:
    """A connection to one of `servers`, tried in random order. Raises BusUnavailable.

    `answer_within_s`: the timeout of later requests over it.
    """
    failures = []
    for url in random.sample(servers, len(servers)):
        client = Client()
        connection = NatsConnection(client, client.jetstream(timeout=answer_within_s))
        try:
            await connection._open(url)
        except BusUnavailable as error:
            failures.append(str(error))
        else:
            return connection
    tried = "; ".join(failures) or "none has said where it listens; is it started?"
    raise BusUnavailable(f"No NATS server can be reached: {tried}")


async def ensure_stream(stream: JetStreamContext, name: str, replicas: int | None) -> None:
    """Create the stream `name` with `replicas` replicas, unless it exists.

    Raises BusUnavailable, also when it does not exist and `replicas` is None.
    """
    with as_unavailable(f"There is no stream {name}"):
        try:
            await stream.stream_info(name)
        except NotFoundError:
            if replicas is None:
                raise
            await stream.add_stream(
                StreamConfig(
                    name=name,
                    description=CREATED_BY,
                    subjects=[name],
                    retention=RetentionPolicy.LIMITS,
                    storage=StorageType.FILE,
                    num_replicas=replicas,
                    duplicate_window=DUPLICATE_WINDOW_S,
                    # A deleted event would be a gap, at which every reader stops.
                    deny_delete=True,
                    deny_purge=True,
                )
            )


async def remove_stream(stream: JetStreamContext, name: str) -> None:
    """Delete the stream `name` if the lab made it. Raises BusUnavailable."""
    with as_unavailable(f"The stream {name} can't be removed"):
        if (await stream.stream_info(name)).config.description == CREATED_BY:
            await stream.delete_stream(name)


@contextmanager
def as_unavailable(problem: str) -> Iterator[None]:
    """Turn the errors of the client library and of the network into BusUnavailable."""
    try:
        yield
    except (Error, OSError, ValueError, LookupError) as error:
        raise BusUnavailable(f"{problem}: {str(error) or repr(error)}") from None


def _parse_login(url: str) -> tuple[str | None, str | None, str | None]:
    """User, password and token of a URL. (The client library would not decode `%40`.)"""
    parts = urlsplit(url)
    name, password = (part and unquote(part) for part in (parts.username, parts.password))
    return (None, None, name) if password is None else (name, password, None)


def _without_login(url: str) -> str:
    return url.rpartition("@")[2].removeprefix("nats://")
