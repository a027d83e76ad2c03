"""The routes for an audience: its phones, their answers to a bet, and the address to open.

Only the presenter's console asks and decides. A phone can do two things: read the blog, and answer
an open bet.
"""

import asyncio
import resource
import socket
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import segno
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from lab.live.bets import Bets
from lab.live.broadcast import Broadcast, ScreenSubscriber, encode, parse_events
from lab.live.phones import Phone, Phones
from lab.live.proxy import is_direct
from lab.live.routes import AccessRoute
from lab.live.server import send_events, spectator_urls, static_file
from lab.scenarios.spec import BetSpec
from lab.service.http import answer

VOTE_MAX_BYTES = 256
OPEN_FILES = 8_192
"""Each phone has one or two connections, and each is an open file."""


class VoteRequest(BaseModel):
    """The answer of a phone: its token, the number of the bet, the index of the answer."""

    model_config = ConfigDict(extra="forbid")

    phone: Annotated[str, Field(max_length=64)]
    bet: Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
    answer: Annotated[int, Field(strict=True, ge=0, le=3)]


class BetChange(BaseModel):
    """What the presenter does with the bet on the screen. `answer`: the one to decide for."""

    model_config = ConfigDict(extra="forbid")

    do: Literal["close", "decide", "finish"]
    answer: Annotated[int, Field(strict=True, ge=0, le=3)] = 0


def audience_routes(bets: Bets, phones: Phones, share_port: int | None) -> Sequence[AccessRoute]:
    """The routes. `share_port`: the port for spectators, None without --share."""

    async def room() -> Any:
        urls = spectator_urls(share_port) if share_port else []
        return {
            "shared": share_port is not None,
            "addresses": [{"url": url, **qr_code(url)} for url in preferred_first(urls)],
            "ready": [spec.model_dump() for spec in bets.ready],
        }

    async def ask(body: BetSpec) -> Any:
        return bets.ask(body)

    async def change(body: BetChange) -> Any:
        if body.do == "decide":
            return bets.decide(body.answer)
        return bets.close() if body.do == "close" else bets.finish()

    async def vote(body: VoteRequest) -> Any:
        bets.vote(phones.find(body.phone), body.bet, body.answer)
        return {"mine": body.answer}

    return (
        AccessRoute("GET", "/screen", static_file, raw=True, open=True, shared=True),
        AccessRoute("GET", "/phone", static_file, raw=True, open=True, shared=True),
        AccessRoute("GET", "/api/phone/hello", phone_hello(bets, phones), raw=True, shared=True),
        AccessRoute("GET", "/api/phone", phone_stream(bets, phones), raw=True, shared=True),
        AccessRoute("POST", "/api/vote", vote, shared=True, max_body=VOTE_MAX_BYTES),
        AccessRoute("GET", "/api/room", room),
        AccessRoute("POST", "/api/ask", ask),
        AccessRoute("POST", "/api/bet", change),
    )


def hello_to(bets: Bets, phones: Phones, phone: Phone) -> dict[str, Any]:
    """The first message to a phone."""
    return {"phone": phones.token(phone), "side": phone.side, "bet": bets.phone_json(phone)}


def phone_hello(bets: Bets, phones: Phones) -> Callable[[web.BaseRequest], Any]:
    """The handler of `GET /api/phone/hello`: the number of a phone, and where it may read its
    messages. `nats`: the port of nats-server, None for the stream below. Raises Conflict."""

    async def hello(request: web.BaseRequest) -> web.Response:
        phone = phones.greet(request.query.get("phone", ""), request.remote or "")
        port = phones.nats_port if is_direct(request) else None
        return answer({**hello_to(bets, phones, phone), "nats": port})

    return hello


def phone_stream(bets: Bets, phones: Phones) -> Callable[[web.BaseRequest], Any]:
    """The handler of `GET /api/phone`: the messages for one phone, as server-sent events. With
    `?phone=TOKEN` it stays the phone that it was. The handler raises Conflict."""

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        token = request.query.get("phone", "")
        with phones.connect(token, request.remote or "") as (phone, subscriber):
            hello = encode(hello_to(bets, phones, phone))
            return await send_events(request, "hello", hello, subscriber)

    return stream


def qr_code(url: str) -> dict[str, Any]:
    """The QR code (ISO/IEC 18004) of an address: its `size` in modules, without the quiet zone of
    four, and the `path` of an SVG that fills its dark modules."""
    code = segno.make_qr(url, error="m")
    matrix = [bytes(row) for row in code.matrix]
    path = "".join(
        f"M{x} {y}h1v1h-1z"
        for y, row in enumerate(matrix)
        for x, is_dark in enumerate(row)
        if is_dark
    )
    return {"size": len(matrix), "path": path}


def preferred_first(urls: Sequence[str]) -> list[str]:
    """The addresses, first the one from which this machine sends to other networks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documents: nothing is sent
            preferred = f"//{probe.getsockname()[0]}:"
        except OSError:
            return list(urls)
    return sorted(urls, key=lambda url: preferred not in url)


def allow_many_connections() -> None:
    """Raise the limit of open files of this process, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def run_audience(broadcast: Broadcast, bets: Bets, phones: Phones) -> None:
    """Keep phones and bets up to date with the broadcast until cancelled."""

    async def follow(subscriber: ScreenSubscriber) -> None:
        while data := await subscriber.next_messages():
            for name, message in parse_events(data):
                phones.on_message(name, message)
                bets.on_message(name, message)

    with broadcast.subscribers.subscribe(shared=False) as subscriber:
        await asyncio.gather(follow(subscriber), phones.run(), bets.run())
