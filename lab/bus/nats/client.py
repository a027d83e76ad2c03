"""The client of the `nats` engine: publishes to a JetStream stream, and reads it by number.

The guarantee: on disk before it is acknowledged (of a majority, where the stream is replicated),
ordered, gapless, replayable from any number. It holds for a server that always syncs, as the lab's
own does.

There are no durable consumers. The server could store a consumer's offset, but not in the
transaction of the consumer's rows, the only place where an offset is reliable.

The cursor of a position is the time, in microseconds, at which the server stored the event there. A
stream that lost its tail may get the same event again under the same number, but with a later time.
All events before it were stored earlier, so one comparison is enough.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, PubAck, RawStreamMsg, StreamInfo
from nats.js.errors import NotFoundError

from lab.bus.base import Batch, BusUnavailable, LogTruncated, OffsetExpired, check_gapless
from lab.bus.nats.connection import (
    NatsConnection,
    as_unavailable,
    connect,
    ensure_stream,
    server_urls,
)
from lab.bus.nats.files import NatsFiles
from lab.domain.events import Envelope
from lab.service.http import Route

# ── Position in the stream

_ROUNDING_US = 5  # the client library converts nanoseconds to a float


async def contains_event(stream: JetStreamContext, name: str, sequence: int, event_id: str) -> bool:
    """Whether event `sequence` has this id, or retention has deleted it.

    Raises what the client library raises.
    """
    message = await _get_message(stream, name, sequence)
    if message is None:
        return sequence < max(1, (await stream.stream_info(name)).state.first_seq)
    return Envelope.from_json(message.data or b"").id == event_id


async def check_position(stream: JetStreamContext, name: str, after: int, cursor: str) -> None:
    """Raise LogTruncated or OffsetExpired where the stream cannot be read on after `after`."""
    state = (await stream.stream_info(name)).state
    first = max(1, state.first_seq)
    message = await _get_message(stream, name, after) if cursor and after >= first else None
    stored = _microsecond(message.time) if message and message.time else 0
    if after > state.last_seq or (message and abs(stored - int(cursor)) > _ROUNDING_US):
        raise LogTruncated(
            f"The stream ends at {state.last_seq}, and event {after} was never in it as it was "
            "read: a tail is lost.",
            first - 1,
        )
    if after + 1 < first:
        raise OffsetExpired(
            f"Events {after + 1} to {first - 1} are not kept any more: the stream begins later."
        )


async def _get_message(stream: JetStreamContext, name: str, sequence: int) -> RawStreamMsg | None:
    try:
        return await stream.get_msg(name, sequence) if sequence else None
    except NotFoundError:
        return None


def _microsecond(timestamp: datetime) -> int:
    return round(timestamp.timestamp() * 1_000_000)


# ── Client

STREAM = "lab-events"
ACKNOWLEDGED_WITHIN_S = 5.0
# A cluster that has lost a leader loses what it gets until it has elected another one, and answers
# nothing. So requests are given up early, and the first event of a batch is sent again.
ANSWERED_WITHIN_S = 1.0
SENT_AGAIN_AFTER_S = 0.5
HEARTBEAT_S = 0.5
HEARTBEATS_MISSED = 4
_MAX_BATCH = 500


class NatsBus:
    """A stream on one of several servers; connects at the first use, and again after a loss.

    `servers` returns their URLs, and is called at each attempt. A missing stream is created with
    `replicas` replicas; with None, calls raise BusUnavailable until another program creates it.
    """

    def __init__(
        self,
        servers: Callable[[], Sequence[str]],
        *,
        name: str = STREAM,
        replicas: int | None = None,
        answer_within_s: float = ACKNOWLEDGED_WITHIN_S,
    ) -> None:
        self._servers = servers
        self._name = name
        self._replicas = replicas
        self._within_s = answer_within_s
        self._connection: NatsConnection | None = None
        self._connecting = asyncio.Lock()
        self._checked_connection: NatsConnection | None = None
        self.routes: list[Route] = []

    @classmethod
    def from_url(cls, url: str) -> "NatsBus":
        """A bus by its address. Raises ValueError.

        `nats://[USER:PASSWORD@]HOST:PORT[,HOST:PORT …][/STREAM][?replicas=3]` is an existing
        cluster; with 0 replicas the stream is never created here. `nats:///FOLDER` is the lab's
        own: its servers write their addresses to that folder.
        """
        parts = urlsplit(url)
        path = unquote(parts.path)
        if not parts.netloc:
            return cls(NatsFiles(Path(path)).urls)
        servers = server_urls(url)
        replicas = parse_qs(parts.query).get("replicas", ["1"])[0]
        if replicas not in ("0", "1", "3", "5"):
            raise ValueError(f"replicas={replicas}: a stream has 1, 3 or 5 of them.")
        name = path.strip("/") or STREAM
        return cls(lambda: servers, name=name, replicas=int(replicas) or None)

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        with as_unavailable("This is no event"):  # Checked before anything is sent: all or none.
            events = [(Envelope.from_json(envelope).id, envelope) for envelope in envelopes]
        connection = await self._get_connection()
        if self._checked_connection not in (None, connection):
            raise BusUnavailable("A new connection: it has to be asked first what it holds.")
        # The first goes alone, and shows that the stream takes events. If all were sent at once
        # while a cluster elects a leader, it could refuse the first and keep the next ones.
        first = [await self._publish_first(connection, *event) for event in events[:1]]
        return first + await self._publish(connection, events[1:])

    async def contains(self, sequence: int, event_id: str) -> bool:
        connection = await self._get_connection()
        with as_unavailable("The bus can't be asked"):
            contained = await contains_event(connection.stream, self._name, sequence, event_id)
        self._checked_connection = connection
        return contained

    async def read(self, after: int, cursor: str = "") -> AsyncGenerator[Batch, None]:
        connection = await self._get_connection()
        with as_unavailable("The bus can't be asked"):
            await check_position(connection.stream, self._name, after, cursor)
        queue: asyncio.Queue[Msg | None] = asyncio.Queue()
        connection.readers.add(queue)
        subscription = None
        try:
            subscription = await self._subscribe(connection, after, queue)
            while True:
                messages = await _next_messages(connection, queue)
                batch = [_envelope(message) for message in messages]
                for envelope in batch:
                    after = check_gapless(after, envelope)
                if batch:
                    yield batch
        finally:
            connection.readers.discard(queue)
            if subscription is not None:
                with suppress(Exception):  # The connection is gone, and the subscription with it.
                    await subscription.unsubscribe()

    async def head(self) -> int:
        return int((await self.info()).state.last_seq)

    async def info(self) -> StreamInfo:
        """The servers' state of the stream. Raises BusUnavailable."""
        connection = await self._get_connection()
        with as_unavailable("The bus can't be asked"):
            return await connection.stream.stream_info(self._name)

    async def prefer_leader(self, server: str) -> None:
        """Ask the cluster to make `server` the leader of the stream. Raises BusUnavailable."""
        connection = await self._get_connection()
        subject = f"$JS.API.STREAM.LEADER.STEPDOWN.{self._name}"
        request = f'{{"placement": {{"preferred": "{server}"}}}}'
        with as_unavailable("The leader can't be chosen"):
            await connection.client.request(subject, request.encode(), timeout=self._within_s)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _publish_first(self, connection: NatsConnection, event_id: str, envelope: str) -> int:
        """Send an event, and again until one of its copies is acknowledged: with one id, the
        server stores one."""
        copies: list[asyncio.Future[PubAck]] = []
        with as_unavailable("The bus did not acknowledge"):
            try:
                async with asyncio.timeout(self._within_s):
                    while not any(copy.done() for copy in copies):
                        if connection.lost.done():
                            raise _lost()
                        copies.append(await self._send(connection, event_id, envelope))
                        either: list[asyncio.Future[Any]] = [*copies, connection.lost]
                        await asyncio.wait(
                            either,
                            timeout=SENT_AGAIN_AFTER_S,
                            return_when=asyncio.FIRST_COMPLETED,
                        )
                return _sequence(next(copy for copy in copies if copy.done()))
            finally:
                for copy in copies:
                    copy.cancel()

    async def _send(
        self, connection: NatsConnection, event_id: str, envelope: str
    ) -> asyncio.Future[PubAck]:
        # Quoted: an id from outside may contain the end of a header.
        headers = {"Nats-Msg-Id": quote(event_id, "")}
        return await connection.stream.publish_async(
            self._name, envelope.encode(), stream=self._name, headers=headers
        )

    async def _publish(
        self, connection: NatsConnection, events: Sequence[tuple[str, str]]
    ) -> list[int]:
        """Send all (id and envelope) at once, in order, and wait until each is acknowledged."""
        if not events:
            return []
        with as_unavailable("The bus did not acknowledge"):
            sent: list[asyncio.Future[PubAck]] = []
            try:
                async with asyncio.timeout(self._within_s):
                    for event in events:
                        sent.append(await self._send(connection, *event))
                    acknowledged = asyncio.gather(*sent, return_exceptions=True)
                    either = (acknowledged, connection.lost)
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for publication in sent:
                    publication.cancel()
            if not acknowledged.done():
                raise _lost()
            return [_sequence(publication) for publication in sent]

    async def _subscribe(
        self, connection: NatsConnection, after: int, queue: asyncio.Queue[Msg | None]
    ) -> Subscription:
        """Let the server push all events after `after`, at the pace at which they are taken."""

        async def enqueue(message: Msg) -> None:
            queue.put_nowait(message)

        inbox = connection.client.new_inbox()
        consumer = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=AckPolicy.NONE,
            deliver_subject=inbox,
            flow_control=True,
            idle_heartbeat=HEARTBEAT_S,
            inactive_threshold=HEARTBEAT_S * HEARTBEATS_MISSED,
            mem_storage=True,
            num_replicas=1,
        )
        with as_unavailable("The bus's stream can't be read"):
            subscription = await connection.client.subscribe(inbox, cb=enqueue)
            await connection.stream.add_consumer(self._name, consumer, timeout=self._within_s)
        return subscription

    async def _get_connection(self) -> NatsConnection:
        async with self._connecting:
            if self._connection is None or self._connection.lost.done():
                within_s = min(self._within_s, ANSWERED_WITHIN_S)
                connection = await connect(self._servers(), within_s)
                try:
                    await ensure_stream(connection.stream, self._name, self._replicas)
                except BusUnavailable:
                    await connection.close()
                    raise
                self._connection = connection
            return self._connection


def _lost() -> BusUnavailable:
    return BusUnavailable("The connection was lost before an acknowledgement.")


def _sequence(acknowledged: "asyncio.Future[PubAck]") -> int:
    """Raises BusUnavailable, and what the client library raises."""
    if not (sequence := acknowledged.result().seq):
        raise BusUnavailable("The cluster has not numbered an event of this id yet: ask again.")
    return sequence


async def _next_messages(connection: NatsConnection, queue: asyncio.Queue[Msg | None]) -> list[Msg]:
    """The events that have arrived, perhaps none.

    Heartbeats and flow-control requests come in between, as messages with status 100. Raises
    BusUnavailable when neither they nor events come, or when the connection is lost.
    """
    try:
        async with asyncio.timeout(HEARTBEAT_S * HEARTBEATS_MISSED):
            messages = [await queue.get()]
    except TimeoutError:
        raise BusUnavailable(f"No heartbeat in {HEARTBEAT_S * HEARTBEATS_MISSED:g} s.") from None
    while not queue.empty() and len(messages) < _MAX_BATCH:
        messages.append(queue.get_nowait())
    events: list[Msg] = []
    for message in messages:
        if message is None:
            if not events:
                raise BusUnavailable("The connection was lost.")
            queue.put_nowait(None)  # Return first what came before the loss.
            break
        headers = message.headers or {}
        if "Status" not in headers:
            events.append(message)
        elif stalled := message.reply or headers.get("Nats-Consumer-Stalled"):
            # A lost connection refuses; the loss is raised after the last event.
            with suppress(Error):
                await connection.client.publish(stalled)
    return events


def _envelope(message: Msg) -> Envelope:
    sequence = message.metadata.sequence.stream
    envelope = Envelope.from_json(message.data).model_copy(update={"sequence": sequence})
    return envelope.set_cursor(str(_microsecond(message.metadata.timestamp)))
