"""A sidecar's raw port: what it forwards, and how it handles bad callers and bad services."""

import asyncio
import gzip
import json
import os
from contextlib import AsyncExitStack
from time import monotonic

import pytest

from tests.support.foreign_service import (
    POST_CREATED,
    ScriptedAnswer,
    ScriptedService,
    close_at_once,
    encode_answer,
    encode_request,
    never_answer,
    open_raw,
    serve_scripted,
    sidecar_before,
    until,
)

EVENT = b'{"type":"PostCreated","data":{"id":"%d"}}'
CHUNKED = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


# ── Forwarding


async def test_a_request_and_its_answer_pass_as_they_are() -> None:
    packed = gzip.compress(b'{"id": "a1"}')
    sends = encode_answer(
        packed, "201 Created Indeed", "X-One: a", "x-one: b", "Content-Encoding: gzip"
    )
    async with (
        sidecar_before(ScriptedService(default=sends)) as setup,
        open_raw(setup.raw_url) as line,
    ):
        headers = ("X-Two: 1", "x-TWO: 2", "Cookie: a=b; c", "Accept-Encoding: gzip")
        await line.send(encode_request("PUT /posts/%41?x=1&y", b"\x00\xff", *headers))
        head, body = await line.read_answer()
        assert head[:4] == sends.decode("latin-1").split("\r\n")[:4]
        assert body == packed
        (request,) = setup.service.received
        sent = encode_request("PUT /posts/%41?x=1&y", b"\x00\xff", *headers)
        assert request.head == sent.decode("latin-1").split("\r\n")[:-2]
        assert request.body == b"\x00\xff"
    sends = encode_answer(b"", "302 Found", "Location: /elsewhere")
    async with (
        sidecar_before(ScriptedService(default=sends)) as setup,
        open_raw(setup.raw_url) as line,
    ):
        await line.send(encode_request("GET /posts"))
        assert (await line.read_answer())[0][:2] == ["HTTP/1.1 302 Found", "Location: /elsewhere"]


async def test_what_comes_in_chunks_goes_on_in_chunks() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    async with (
        sidecar_before(ScriptedService(default=chunked)) as setup,
        open_raw(setup.raw_url) as line,
    ):
        for _ in range(2):
            await line.send(CHUNKED, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")
            assert (await line.read_answer())[1] == b"hello"
        assert [request.body for request in setup.service.received] == [b"abcde", b"abcde"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_three_megabytes_pass_in_both_directions(chunked: bool) -> None:
    large = os.urandom(3_000_000)
    framed = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(large), large)
    foreign = ScriptedService(default=lambda request: encode_answer(request.body))
    async with sidecar_before(foreign) as setup, open_raw(setup.raw_url) as line:
        sent = framed if chunked else encode_request("POST /x", large)
        sending = asyncio.create_task(line.send(sent))
        assert (await line.read_answer())[1] == large
        await sending
        assert await line.ask("GET /again") == (200, b"")


async def test_a_slow_reader_gets_all_of_it() -> None:
    written = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 64000000\r\n\r\n")
        for _ in range(1_000):
            writer.write(b"x" * 64_000)
            written += 64_000
            await writer.drain()

    async with (
        sidecar_before(ScriptedService(default=endless)) as setup,
        open_raw(setup.raw_url) as line,
    ):
        await line.send(encode_request("GET /x"))
        await line.reader.readuntil(b"\r\n\r\n")
        (caller,) = setup.sidecar._proxy.connections
        pending = caller._queue[0].pending  # type: ignore[attr-defined]
        # Backpressure: no caller reads, so the service is not read from either.
        await until(lambda: not pending.connection.transport.is_reading(), "a pause")
        assert written < 64_000_000
        rest = 64_000_000
        while rest:
            rest -= len(await line.reader.read(1 << 20))
        assert written == 64_000_000


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhel")
        await writer.drain()
        writer.write(b"lo")

    async with (
        sidecar_before(ScriptedService(default=old)) as setup,
        open_raw(setup.raw_url) as line,
    ):
        await line.send(encode_request("GET /posts"))
        head, body = await line.read_answer()
        assert body == b"hello"
        assert "Connection: close" in head


@pytest.mark.parametrize(
    ("first", "sends"),
    [
        ("HEAD /posts", b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n"),
        ("GET /posts", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET /posts", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 400\r\n\r\n"),
        ("GET /posts", b"HTTP/1.1 100 Continue\r\n\r\n" + encode_answer(b"")),
    ],
)
async def test_an_answer_without_a_body_keeps_the_connection(first: str, sends: bytes) -> None:
    async with (
        sidecar_before(ScriptedService(default=sends)) as setup,
        open_raw(setup.raw_url) as line,
    ):
        for _ in range(2):
            status, body = await line.ask(first)
            assert (status in (200, 204, 304), body) == (True, b"")


async def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    async with sidecar_before(
        ScriptedService(default=lambda request: encode_answer(request.summary.encode()))
    ) as setup:
        async with open_raw(setup.raw_url) as line:
            await line.send(*(encode_request(f"GET /{number}") for number in range(50)))
            answers = [(await line.read_answer())[1] for _ in range(50)]
        assert answers == [b"GET /%d" % number for number in range(50)]


async def test_a_wish_for_another_protocol_is_passed_over() -> None:
    async with sidecar_before(ScriptedService()) as setup, open_raw(setup.raw_url) as line:
        wishes = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA")
        assert (await line.ask("GET /posts", b"", *wishes))[0] == 200
        assert (await line.ask("GET /posts"))[0] == 200
        assert setup.service.received[0].header("Upgrade") is None


async def test_a_body_that_waits_for_100_continue_gets_it() -> None:
    foreign = ScriptedService(default=lambda request: encode_answer(request.body))
    async with sidecar_before(foreign) as setup, open_raw(setup.raw_url) as line:
        sent = encode_request("POST /x", b"hello", "Expect: 100-continue")
        await line.send(sent[:-5])
        assert (await line.read_answer())[0][0] == "HTTP/1.1 100 Continue"
        await line.send(b"hello")
        assert (await line.read_answer())[1] == b"hello"


async def test_two_hundred_callers_share_connections_to_the_service() -> None:
    async with sidecar_before(
        ScriptedService(default=lambda request: encode_answer(request.summary.encode()))
    ) as setup:

        async def one(number: int, session: asyncio.Barrier) -> None:
            async with open_raw(setup.raw_url) as line:
                for turn in range(5):
                    await session.wait()
                    answered = await line.ask(f"GET /{number}/{turn}")
                    assert answered == (200, b"GET /%d/%d" % (number, turn))

        session = asyncio.Barrier(200)
        await asyncio.gather(*(one(number, session) for number in range(200)))
        assert len(setup.service.received) == 1_000
        assert setup.service.accepted <= 200
        assert (await setup.state())["visitors"] == 1_000


async def test_a_connection_that_the_service_closed_is_not_used() -> None:
    async with sidecar_before(ScriptedService()) as setup, open_raw(setup.raw_url) as line:
        for turn in range(1, 4):
            assert (await line.ask("POST /x", b"1"))[0] == 200
            setup.service.close_connections()
            await until(lambda turn=turn: setup.service.closed == turn, "a closed connection")
        assert setup.service.accepted == 3


async def test_a_caller_who_leaves_ends_its_request() -> None:
    async with sidecar_before(ScriptedService(default=never_answer)) as setup:
        async with open_raw(setup.raw_url) as line:
            await line.send(encode_request("GET /posts"))
            await until(lambda: setup.service.received, "the request")
        await until(lambda: setup.service.closed == 1, "a closed connection to the service")
        await setup.until_under_way(0)
        assert (await setup.state())["left"] == 1
        asking = asyncio.create_task(setup.ask("POST", "/posts", {"title": "x"}))
        await until(lambda: len(setup.service.received) == 2, "the request at the face")
        asking.cancel()
        await until(lambda: setup.service.closed == 2, "a closed connection behind the face")
        await setup.until_under_way(0)


# ── Bad callers


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", 400),
        (b"GET /posts HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 413),
        (b"GET ftp://x/y HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://127.0.0.1:99999/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
async def test_what_is_no_request_gets_a_problem_document(sent: bytes, status: int) -> None:
    async with sidecar_before(ScriptedService()) as setup, open_raw(setup.raw_url) as line:
        await line.send(sent)
        head, body = await line.read_answer()
        assert head[0].split()[1] == str(status)
        assert json.loads(body)["status"] == status
        assert setup.service.received == []


async def test_half_a_request_does_not_stay_for_ever() -> None:
    async with (
        sidecar_before(ScriptedService()) as setup,
        open_raw(setup.raw_url) as line,
        open_raw(setup.raw_url) as idle,
    ):
        await line.send(b"POST /posts HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
        await idle.send(encode_request("GET /posts"))
        await idle.read_answer()
        await until(lambda: len(setup.sidecar._proxy.connections) == 2, "both connections")
        await until(lambda: any(c._queue for c in setup.sidecar._proxy.connections), "the half")  # type: ignore[attr-defined]
        for caller in list(setup.sidecar._proxy.connections):
            caller.close_if_idle(monotonic() + 11)
        assert (await line.read_answer())[0][0].split()[1] == "408"
        for caller in list(setup.sidecar._proxy.connections):
            caller.close_if_idle(monotonic() + 61)
        assert await idle.reader.read() == b""


# ── Bad services

NO_ANSWER = (asyncio.IncompleteReadError, ConnectionError)


async def test_a_service_that_is_not_there_has_surely_done_nothing() -> None:
    async with (
        sidecar_before(ScriptedService(), listens=False) as setup,
        open_raw(setup.raw_url) as line,
    ):
        with pytest.raises(NO_ANSWER):
            await line.ask("POST /posts", b"{}")
        status, answer = await setup.ask("POST", "/posts", {"title": "x"})
        assert (status, answer["definite"]) == (503, True)
        assert "nothing listens on port" in answer["detail"]
        assert "nothing listens on port" in (await setup.state())["last_failure"]


async def answer_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    await writer.drain()


BROKEN_ANSWERS: dict[str, tuple[ScriptedAnswer, str]] = {
    "nothing": (close_at_once, "posts answered with"),
    "no HTTP": (lambda request: b"hello there\r\n\r\n", "posts answered with"),
    "an endless head": (
        lambda request: b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        "posts answered",
    ),
    "half of it": (answer_half, "the beginning of an answer, 5 bytes"),
}


@pytest.mark.parametrize("how", BROKEN_ANSWERS)
async def test_a_broken_answer_is_none_for_callers(how: str) -> None:
    says, named = BROKEN_ANSWERS[how]
    async with (
        sidecar_before(ScriptedService(default=says)) as setup,
        open_raw(setup.raw_url) as line,
    ):
        with pytest.raises(NO_ANSWER):
            await line.ask("POST /posts", b"{}")
        state = await setup.state()
        assert (state["failed"], state["under_way"]) == (1, 0)
        assert "posts answered with" in state["last_failure"]
        status, answer = await setup.ask("POST", "/posts", {"title": "x"})
        assert (status, answer["definite"]) == (502, False)
        assert named in answer["detail"]


async def test_an_answer_that_comes_too_early_is_heard() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(encode_answer(b"too much", "413 Payload Too Large", "Connection: close"))
        await writer.drain()
        await reader.read(1 << 20)
        writer.close()

    foreign = ScriptedService()
    foreign.handle = talk  # type: ignore[method-assign]
    async with sidecar_before(foreign) as setup, open_raw(setup.raw_url) as line:
        head = b"POST /posts HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        await line.send(head, b"x" * 100_000)
        answer, body = await line.read_answer()
        assert (answer[0].split()[1], body) == ("413", b"too much")
        assert "Connection: close" in answer


async def test_a_service_on_the_other_loopback_is_found() -> None:
    foreign = ScriptedService()
    async with AsyncExitStack() as held:
        try:
            await held.enter_async_context(serve_scripted(foreign, "::1"))
        except OSError as error:
            pytest.skip(f"this machine has no ::1 ({error})")
        setup = await held.enter_async_context(
            sidecar_before(ScriptedService(), service_port=foreign.port)
        )
        line = await held.enter_async_context(open_raw(setup.raw_url))
        assert (await line.ask("GET /posts"))[0] == 200
        assert (await setup.ask("GET", "/health"))[0] == 200
        assert len(foreign.received) == 1


# ── The proxy


async def test_a_service_finds_others_by_name_and_is_named() -> None:
    bus = ScriptedService(default=lambda request: encode_answer(request.summary.encode()))
    async with serve_scripted(bus):
        hosts = {"event-bus-srv:4005": bus.port, "bus": bus.port}
        async with (
            sidecar_before(ScriptedService(), hosts=hosts) as setup,
            open_raw(setup.raw_url) as line,
        ):
            for authority in ("event-bus-srv:4005", "BUS", "bus:80", f"localhost:{bus.port}"):
                first = f"POST http://{authority}/events?x=1"
                assert await line.ask(first, EVENT % 1) == (200, b"POST /events?x=1")
            assert await line.ask(f"GET http://127.0.0.1:{bus.port}") == (200, b"GET /")
            assert [heard.header("Lab-Caller") for heard in bus.received] == ["posts"] * 5
            assert setup.service.received == []


async def test_a_tunnel_leads_to_the_same() -> None:
    bus = ScriptedService(default=lambda request: encode_answer(request.summary.encode()))
    async with (
        serve_scripted(bus),
        sidecar_before(ScriptedService(), hosts={"bus": bus.port}) as setup,
    ):
        async with open_raw(setup.raw_url) as line:
            await line.send(b"CONNECT bus:4005 HTTP/1.1\r\nHost: bus:4005\r\n\r\n")
            established = await line.reader.readuntil(b"\r\n\r\n")
            assert established.startswith(b"HTTP/1.1 200 ")
            for _ in range(2):
                assert await line.ask("POST /events", b"{}") == (200, b"POST /events")
        assert [heard.header("Lab-Caller") for heard in bus.received] == ["posts"] * 2


@pytest.mark.parametrize("first", ["GET http://example.com/x", "CONNECT example.com:443"])
async def test_nothing_goes_to_other_machines(first: str) -> None:
    async with sidecar_before(ScriptedService()) as setup, open_raw(setup.raw_url) as line:
        status, body = await line.ask(first)
        answer = json.loads(body)
        assert (status, answer["definite"]) == (503, True)
        assert "to [hosts]. The sidecar forwards nothing to other machines" in answer["detail"]


async def test_a_partition_cuts_a_caller_behind_its_own_sidecar() -> None:
    async with sidecar_before(ScriptedService(default=POST_CREATED)) as posts:
        port = int(posts.raw_url.rpartition(":")[2])
        async with sidecar_before(ScriptedService(), "comments", hosts={"posts": port}) as comments:
            await posts.add_fault("partition", **{"from": "comments"})
            async with open_raw(comments.raw_url) as line:
                await line.send(encode_request("GET http://posts/posts"))
                await posts.until_under_way(1)
            assert (await posts.remove_fault("partition"))["acted"] == 1
