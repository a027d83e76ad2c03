"""One life of a connection to a NATS server, from the first word to the last.

The client library can reconnect by itself, and is told not to: what it had sent into the dead
connection is lost while what it had not sent yet goes out over the new one, so that events would
overtake each other; and a subscription that it carries over may be dead without a word. Here a
connection lives once. Whoever finds it lost says BusUnavailable, and the next call makes another.
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
# A server that is suspended keeps its connections and says nothing: it is given up in three pings.
PING_EVERY_S = 1
PINGS_UNANSWERED = 2
# Beyond this window the server forgets ids, and an event told again would be a second event. Its
# own default, two minutes, is shorter than an outage that an outbox lives through.
DUPLICATE_WINDOW_S = 3_600.0
MADE_BY = "made by sync-async-lab"


@dataclass(eq=False)
class Connection:
    """`lost` is done once it is over, and then each of `readers` finds a None in its queue."""

    client: Client
    stream: JetStreamContext
    lost: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    readers: set[asyncio.Queue[Msg | None]] = field(default_factory=set)

    async def close(self) -> None:
        """Say goodbye. More than once is fine; what fails on the way out matters to nobody."""
        with suppress(Exception):
            async with asyncio.timeout(CONNECTED_WITHIN_S):
                await self.client.close()
        await self._is_lost()

    async def _open(self, url: str) -> None:
        async def note(error: Exception) -> None:
            errors.append(error)

        errors: list[Exception] = []
        user, password, token = _login(url)
        try:
            async with asyncio.timeout(CONNECTED_WITHIN_S):
                await self.client.connect(
                    f"nats://{_without_login(url)}",
                    user=user,
                    password=password,
                    token=token,
                    allow_reconnect=False,
                    # Also for the first connection: it would wait 2 s and try 60 times.
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    ping_interval=PING_EVERY_S,
                    max_outstanding_pings=PINGS_UNANSWERED,
                    closed_cb=self._is_lost,
                    error_cb=note,
                )
        except (Error, OSError) as error:
            await self.close()
            raise BusUnavailable(f"{_without_login(url)}: {(errors or [error])[0]!r}") from None

    async def _is_lost(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
            for reader in self.readers:
                reader.put_nowait(None)


def server_urls(url: str) -> list[str]:
    """The URL of each server of `nats://[LOGIN@]HOST:PORT[,HOST:PORT …]`, each with the login."""
    login, at, hosts = urlsplit(url).netloc.rpartition("@")
    return [f"nats://{login}{at}{host}" for host in hosts.split(",")]


async def connect(servers: Sequence[str], answer_within_s: float) -> Connection:
    """A connection to the first of `servers`, in any order, that lets us in. BusUnavailable.

    What it is asked later has to be answered within `answer_within_s`.
    """
    failures = []
    for url in random.sample(servers, len(servers)):
        client = Client()
        connection = Connection(client, client.jetstream(timeout=answer_within_s))
        try:
            await connection._open(url)
        except BusUnavailable as error:
            failures.append(str(error))
        else:
            return connection
    tried = "; ".join(failures) or "none has said where it listens; is it started?"
    raise BusUnavailable(f"No NATS server can be reached: {tried}")


async def find_or_make(stream: JetStreamContext, name: str, replicas: int | None) -> None:
    """Make the stream `name` with so many replicas unless it is there. Raises BusUnavailable,
    also when it isn't there and no number is given."""
    with as_unavailable(f"There is no stream {name}"):
        try:
            await stream.stream_info(name)
        except NotFoundError:
            if replicas is None:
                raise
            await stream.add_stream(
                StreamConfig(
                    name=name,
                    description=MADE_BY,
                    subjects=[name],
                    retention=RetentionPolicy.LIMITS,
                    storage=StorageType.FILE,
                    num_replicas=replicas,
                    duplicate_window=DUPLICATE_WINDOW_S,
                    # What were gone from the middle would be a gap that no reader passes over.
                    deny_delete=True,
                    deny_purge=True,
                )
            )


async def remove(stream: JetStreamContext, name: str) -> None:
    """Delete the stream `name`, unless somebody else than the lab made it. BusUnavailable."""
    with as_unavailable(f"The stream {name} can't be removed"):
        if (await stream.stream_info(name)).config.description == MADE_BY:
            await stream.delete_stream(name)


@contextmanager
def as_unavailable(what: str) -> Iterator[None]:
    """Translate whatever the client library or the network may raise, here and nowhere else."""
    try:
        yield
    except (Error, OSError, ValueError, LookupError) as error:
        raise BusUnavailable(f"{what}: {str(error) or repr(error)}") from None


def _login(url: str) -> tuple[str | None, str | None, str | None]:
    """User, password and token of a URL. (The client library would take a %40 as it stands.)"""
    parts = urlsplit(url)
    name, password = (one and unquote(one) for one in (parts.username, parts.password))
    return (None, None, name) if password is None else (name, password, None)


def _without_login(url: str) -> str:
    return url.rpartition("@")[2].removeprefix("nats://")
