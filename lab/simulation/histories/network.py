"""The network of a world: what is sent arrives later, or waits behind a partition, or is refused.

A partition holds what is sent, as TCP does, which sends it again until it arrives: it arrives when
the partition heals, unless the sender has given up. What is sent to a process that is down is
refused; a process that crashes breaks off what it was asked.
"""

import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.simulation.histories.history import Message, MessageKind
from lab.simulation.histories.loop import PROCESS, ProcessState, VirtualLoop

LATENCY_S = 0.001
_NO_PROCESS = contextvars.Context()


class Refused(Exception):
    """Nothing listens there: nothing was done."""


class BrokenOff(Exception):
    """The other side went down before it answered: it may have been done."""


@dataclass(eq=False)
class Node:
    """A process, as the network knows it."""

    name: str
    state: ProcessState = field(default_factory=ProcessState)

    def __post_init__(self) -> None:
        self.context = contextvars.Context()
        self.context.run(PROCESS.set, self.state)


@dataclass(eq=False, slots=True)
class Exchange:
    """A request and its answer. `finish` gets the answer, or an error; in the sender's context."""

    network: "Network"
    sender: Node
    receiver: str
    serve: Callable[["Exchange"], None]
    finish: Callable[[Any, Exception | None], None]
    kind: MessageKind
    label: str
    write: int
    sent_s: float
    is_over: bool = False
    server: Node | None = None

    def answer(self, value: Any, label: str = "", error: Exception | None = None) -> None:
        """Send the answer back."""
        self.network.send_back(self, value, label, error)

    def give_up(self) -> None:
        """The sender no longer waits."""
        self.is_over = True


class Network:
    """Delivers between nodes. `record` gets each message, unless it is None."""

    def __init__(self, loop: VirtualLoop, record: Callable[[Message], None] | None = None) -> None:
        self._loop = loop
        self._record = record
        self.nodes: dict[str, Node] = {}
        self.slow_s: dict[str, float] = {}
        self.cuts: set[tuple[str, str]] = set()
        self._held: list[tuple[Any, ...]] = []
        self._open: dict[Exchange, None] = {}
        self.in_flight = 0

    def latency_s(self, one: str, other: str) -> float:
        return LATENCY_S + self.slow_s.get(one, 0.0) + self.slow_s.get(other, 0.0)

    def is_cut(self, one: str, other: str) -> bool:
        """Whether a partition lies between two nodes."""
        return not self.cuts.isdisjoint(((one, other), (other, one), (one, ""), (other, "")))

    def heal(self) -> None:
        """End all partitions and slowness; what they held arrives."""
        self.cuts.clear()
        self.slow_s.clear()
        held, self._held = self._held, []
        for message in held:
            self._loop.call_later(LATENCY_S, self._deliver, *message, context=_NO_PROCESS)

    # Methods and no closures: a closure that names itself is left to the garbage collector.

    def carry(
        self, sender: str, receiver: str, deliver: Callable[..., None], *arguments: Any
    ) -> None:
        """Call `deliver` when what was sent arrives; behind a partition, when that heals."""
        self.in_flight += 1
        latency_s = self.latency_s(sender, receiver) if self.slow_s else LATENCY_S
        self._loop.call_later(
            latency_s, self._deliver, sender, receiver, deliver, arguments, context=_NO_PROCESS
        )

    def _deliver(
        self, sender: str, receiver: str, deliver: Callable[..., None], arguments: tuple[Any, ...]
    ) -> None:
        if self.cuts and self.is_cut(sender, receiver):
            self._held.append((sender, receiver, deliver, arguments))
            return
        self.in_flight -= 1
        deliver(*arguments)

    def request(
        self,
        sender: Node,
        receiver: str,
        serve: Callable[[Exchange], None],
        finish: Callable[[Any, Exception | None], None],
        kind: MessageKind = "request",
        label: str = "",
        write: int = 0,
    ) -> Exchange:
        """Send a request. `serve` runs as a callback of the receiver, and calls `answer`."""
        exchange = Exchange(
            self, sender, receiver, serve, finish, kind, label, write, self._loop.now_s
        )
        self.carry(sender.name, receiver, self._arrive, exchange)
        return exchange

    def _arrive(self, exchange: Exchange) -> None:
        node = self.nodes.get(exchange.receiver)
        if exchange.is_over or not exchange.sender.state.alive:
            self._note(exchange, lost="partition" if exchange.is_over else "down")
            return
        if node is None or not node.state.alive:
            self._note(exchange, lost="down")
            self._fail(exchange, Refused(f"{exchange.receiver} is not there."))
            return
        self._note(exchange)
        exchange.server = node
        self._open[exchange] = None
        self._loop.call_soon(exchange.serve, exchange, context=node.context.copy())

    def send_back(
        self, exchange: Exchange, value: Any, label: str, error: Exception | None
    ) -> None:
        if exchange not in self._open:
            return
        del self._open[exchange]
        self.carry(
            exchange.receiver,
            exchange.sender.name,
            self._arrive_back,
            *(exchange, value, label, error, self._loop.now_s),
        )

    def _arrive_back(
        self, exchange: Exchange, value: Any, label: str, error: Exception | None, sent_s: float
    ) -> None:
        if exchange.label and self._record is not None:
            self._record(
                Message(
                    "acknowledgement" if exchange.kind == "publish" else "reply",
                    exchange.receiver,
                    exchange.sender.name,
                    sent_s * 1_000,
                    None if exchange.is_over else self._loop.now_s * 1_000,
                    label,
                    exchange.write,
                    "partition" if exchange.is_over else "",
                )
            )
        self._finish(exchange, value, error)

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        self.carry(exchange.receiver, exchange.sender.name, self._finish, exchange, None, error)

    def _finish(self, exchange: Exchange, value: Any, error: Exception | None) -> None:
        if not exchange.is_over and exchange.sender.state.alive:
            exchange.is_over = True
            self._loop.call_soon(
                exchange.finish, value, error, context=exchange.sender.context.copy()
            )

    def crashed(self, node: Node) -> None:
        """Break off what this node was asked."""
        for exchange in [one for one in self._open if one.server is node]:
            del self._open[exchange]
            self._fail(exchange, BrokenOff(f"{node.name} went down."))

    def _note(self, exchange: Exchange, lost: str = "") -> None:
        if self._record is not None and exchange.label:
            self._record(
                Message(
                    exchange.kind,
                    exchange.sender.name,
                    exchange.receiver,
                    exchange.sent_s * 1_000,
                    None if lost else self._loop.now_s * 1_000,
                    exchange.label,
                    exchange.write,
                    lost,
                )
            )
