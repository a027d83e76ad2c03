"""The phones of a lecture: each is a reader of one of the two blogs, with less than 1 kB/s.

All phones of one half get the same message, encoded once: the newest posts of the feed, or the
error that a reader gets instead, with the success rate of reads and the lag of the feed. It comes
once a second, and at once when a fault is injected or healed.

Each phone has a number. The lab signs it, so that a phone which reconnects stays the same reader
with the same vote, and numbers can't be forged. A network address gets a limited number of them.
"""

import asyncio
import base64
import hmac
import ipaddress
import json
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from lab.domain.errors import Conflict, Forbidden, ServiceError
from lab.live.blog import BlogClient
from lab.live.broadcast import Broadcast, ScreenSubscriber
from lab.live.figures import FIGURES_WINDOW_S
from lab.live.snapshots import TICK_MS, Tick

MAX_PHONES = 1_000
MAX_NUMBERS = 50_000
MAX_STREAMS_PER_PHONE = 3
"""Streams with one number: the tabs of a phone, and connections that it has lost unnoticed."""
MAX_PER_ADDRESS = 40
"""Numbers for one network address. A router can hide a class behind one address; one student with a
script can't outvote it. Loopback is exempt: a proxy on this machine may forward all phones."""
EVERY_S = 1.0
MAX_MESSAGE_BYTES = 900
MAX_POSTS, MAX_CHARACTERS = 3, 60


@dataclass
class Phone:
    """A phone with its open streams, and the ids of its connections to nats-server (phone_bus.py).
    `side`: the half that it reads, 0 left, 1 right."""

    number: int
    address: str
    streams: set[ScreenSubscriber] = field(default_factory=set)
    connections: set[int] = field(default_factory=set)

    @property
    def is_connected(self) -> bool:
        return bool(self.streams or self.connections)

    @property
    def side(self) -> int:
        return self.number % 2


class Phones:
    """All phones of a session."""

    def __init__(self, broadcast: Broadcast, blog: BlogClient) -> None:
        self._broadcast, self._blog = broadcast, blog
        self._key = secrets.token_bytes(32)
        self._phones: dict[int, Phone] = {}
        self._numbers_of: Counter[str] = Counter()
        self._next_number = secrets.randbelow(2)
        self._ticks: deque[Tick] = deque(maxlen=round(FIGURES_WINDOW_S * 1_000 / TICK_MS))
        self._changed = [asyncio.Event(), asyncio.Event()]
        self.on_send: Callable[[str, bytes, int | None], None] | None = None
        """Sends a message to the phones of one side, or of both, that read from nats-server."""
        self.nats_port: int | None = None

    @property
    def connected(self) -> list[Phone]:
        return [phone for phone in self._phones.values() if phone.is_connected]

    def counts(self) -> dict[str, int]:
        """The connected phones: `left`, `right`, and from how many network `addresses`."""
        connected = self.connected
        right = sum(phone.side for phone in connected)
        addresses = len({phone.address for phone in connected})
        return {"left": len(connected) - right, "right": right, "addresses": addresses}

    def token(self, phone: Phone) -> str:
        digest = hmac.digest(self._key, str(phone.number).encode(), "sha256")
        return f"{phone.number}.{base64.urlsafe_b64encode(digest[:16]).decode().rstrip('=')}"

    def find(self, token: str) -> Phone:
        """The connected phone with this token. Raises Forbidden."""
        phone = self._look_up(token)
        if phone is None or not phone.is_connected:
            raise Forbidden("This is no phone that is connected. Reload the page, then answer.")
        return phone

    @contextmanager
    def connect(self, token: str, address: str) -> Iterator[tuple[Phone, ScreenSubscriber]]:
        """One stream of the phone with this token, or of a new phone. Raises Conflict."""
        phone = self.greet(token, address)
        if len(phone.streams) >= MAX_STREAMS_PER_PHONE:
            raise Conflict("This phone is connected already. Close its other tabs.")
        with self._broadcast.phones.subscribe(shared=True) as subscriber:
            phone.streams.add(subscriber)
            try:
                yield phone, subscriber
            finally:
                phone.streams.discard(subscriber)

    def greet(self, token: str, address: str) -> Phone:
        """The phone with this token, or a new one. Raises Conflict."""
        if (
            sum(len(phone.streams) + len(phone.connections) for phone in self.connected)
            >= MAX_PHONES
        ):
            raise Conflict(f"{MAX_PHONES} phones are connected already. Watch the projector.")
        return self._look_up(token) or self._register(address)

    def join(self, token: str, connection: int) -> Phone | None:
        """The phone with this token, which now has this connection to nats-server; None if there is
        no such phone, or it has too many connections."""
        phone = self._look_up(token)
        if phone is None or len(phone.connections) >= MAX_STREAMS_PER_PHONE:
            return None
        phone.connections.add(connection)
        return phone

    def send(self, name: str, data: bytes, side: int | None = None) -> None:
        """Send a message to all phones, or to those of one side."""
        for phone in self.connected:
            if side is None or phone.side == side:
                for subscriber in phone.streams:
                    subscriber.enqueue(name, data)
        if self.on_send is not None:
            self.on_send(name, data, side)

    def on_message(self, name: str, data: Any) -> None:
        """Take a message of the broadcast."""
        if name == "tick":
            self._ticks.append(data)
        elif name in ("hello", "faults"):
            self._ticks.clear()  # figures from before a change say nothing about now
            for changed in self._changed:
                changed.set()

    async def run(self) -> None:
        """Send each side its messages until cancelled."""
        await asyncio.gather(*(self._run_side(side) for side in (0, 1)))

    async def _run_side(self, side: int) -> None:
        changed = self._changed[side]
        while True:
            began_s = perf_counter()
            changed.clear()
            if any(phone.side == side for phone in self.connected):
                self.send("now", await self._describe(side), side)
            try:
                async with asyncio.timeout(max(0.0, EVERY_S - (perf_counter() - began_s))):
                    await changed.wait()
            except TimeoutError:
                pass

    async def _describe(self, side: int) -> bytes:
        names = [pane["name"] for pane in self._broadcast.fixed_state["halves"]]
        name = names[side]
        try:
            response = await self._blog.feed(name)
        except ServiceError:
            response = {"status": None}  # the blogs are just starting
        message: dict[str, Any] = {"name": name, "t": self._broadcast.elapsed_s}
        message |= measure([tick["halves"].get(name, {}) for tick in self._ticks])
        faults = self._broadcast.current_state["faults"]
        message["fault"] = next(
            (
                {key: fault[key] for key in ("target", "kind", "options", "since_t")}
                for fault in reversed(faults)
                if fault["half"] in (None, name)
            ),
            None,
        )
        return encode_page(message, response)

    def _look_up(self, token: str) -> Phone | None:
        number, _, _ = token.partition(".")
        if not (number.isascii() and number.isdigit() and len(number) < 8):
            return None
        phone = self._phones.get(int(number))
        if phone is None or not hmac.compare_digest(token.encode(), self.token(phone).encode()):
            return None
        return phone

    def _register(self, address: str) -> Phone:
        too_many = self._numbers_of[address] >= MAX_PER_ADDRESS and not _is_loopback(address)
        if too_many or len(self._phones) >= MAX_NUMBERS:
            raise Conflict(
                f"{MAX_PER_ADDRESS} phones with your network address have connected already. "
                "Watch the projector."
            )
        phone = Phone(self._next_number, address)
        self._next_number += 1
        self._numbers_of[address] += 1
        self._phones[phone.number] = phone
        return phone


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def measure(pane_ticks: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of one half over these ticks. `reads`: how many succeeded and failed; `lag_ms`:
    the lag of the feed in the newest tick, None without a feed; `missing`: acknowledged writes that
    readers will never see."""
    pane_ticks = [tick for tick in pane_ticks if tick]
    newest: Mapping[str, Any] = pane_ticks[-1] if pane_ticks else {}
    return {
        "reads": [sum(tick["reads"][key] for tick in pane_ticks) for key in ("ok", "failed")],
        "waiting": newest.get("waiting", 0),
        "lag_ms": newest.get("feed_age_ms") if newest.get("feed_ok") else None,
        "missing": newest.get("missing", 0),
    }


def encode_page(message: Mapping[str, Any], response: Mapping[str, Any]) -> bytes:
    """A message of at most MAX_MESSAGE_BYTES: `status` with `posts` (title, newest comment, its
    status), or with `why` there is no feed."""
    page: dict[str, Any] = {**message, "status": response["status"]}
    if page["status"] == 200:
        page["posts"] = [_shorten_post(post) for post in choose_posts(response["feed"])]
    elif page["status"] is not None:
        problem = response.get("problem") or {}
        page["why"] = str(problem.get("detail") or response.get("error") or "")[
            : MAX_CHARACTERS * 2
        ]
    while len(data := _encode(page)) > MAX_MESSAGE_BYTES and page.get("posts"):
        page["posts"].pop()
    return data


def choose_posts(feed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The newest posts of a feed. The last of them is the newest one that has a comment, because
    new comments would not be in view otherwise."""
    newest, rest = list(feed[: MAX_POSTS - 1]), feed[MAX_POSTS - 1 :]
    commented = [post for post in rest if post["comments"]]
    return [*newest, *(commented or rest)[:1]]


def _shorten_post(post: Mapping[str, Any]) -> list[str]:
    title = post["title"][:MAX_CHARACTERS]
    if not post["comments"]:
        return [title]
    newest = post["comments"][-1]
    return [title, newest["content"][:MAX_CHARACTERS], newest["status"]]


def _encode(value: Any) -> bytes:
    # UTF-8 and no escapes: a title in Arabic has a third of the bytes.
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace")
