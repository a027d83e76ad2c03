"""An incomplete request is not waited for without end, and delays no other one."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from lab.cluster.ports import reserve
from lab.cluster.program import Program
from lab.service.http import WHOLE_REQUEST_WITHIN_S
from tests.support import wire
from tests.support.laboratory import Laboratory, RunningBlog, eventually
from tests.support.refusals import assert_problem_document

HEAD = b"POST /posts HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b'Content-Length: 14\r\n\r\n{"title": "f"}'


@pytest.fixture(scope="module")
def impatient(laboratory: Laboratory) -> Iterator[str]:
    """The URL of a service that waits for 0.3 s where the others wait for 10 s."""
    assert WHOLE_REQUEST_WITHIN_S == 10.0
    with reserve() as port:
        url = f"http://127.0.0.1:{port.port}"
        argv = ("--port", str(port.port), "--reuse-port")
        log = laboratory.folder / "impatient.log"
        with laboratory.start(
            Program("impatient", "tests.programs.impatient", argv, log, health=f"{url}/health")
        ):
            yield url
            assert "Traceback" not in log.read_text()


def send(url: str, sent: bytes) -> wire.RawReply:
    return wire.send(url, sent.replace(b"HOST", url.removeprefix("http://").encode()))


def answered(url: str, sent: bytes) -> wire.RawReply:
    """The first reply; a connection that sends nothing for 0.3 s gets none."""
    replies: list[wire.RawReply] = []

    def status() -> int:
        replies.append(send(url, sent))
        return replies[-1].status

    eventually(status, "an answer")
    return replies[-1]


@pytest.mark.parametrize(
    "half", [b"", b"P", b"POST /posts", HEAD, HEAD + b"X-Long: " + b"x" * 1_000]
)
def test_a_head_that_stays_half_is_cut_off(impatient: str, half: bytes) -> None:
    assert send(impatient, half).status in (0, 408)


def test_a_head_that_trickles_is_cut_off(impatient: str) -> None:
    with wire.connect(impatient) as connection:
        connection.setblocking(False)

        def cut_off() -> bool:
            with suppress(BlockingIOError):
                connection.send(b"x")
                return connection.recv(1) == b""
            return False

        with suppress(ConnectionError):
            connection.send(b"GET /health HTTP/1.1\r\nX: ")
            eventually(cut_off, "a connection that is closed")


@pytest.mark.parametrize(
    "half",
    [
        HEAD + b"Content-Length: 20\r\n\r\n",
        HEAD + b'Content-Length: 20\r\n\r\n{"title": "f',
        HEAD + b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"title"\r\n',
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n8",
    ],
)
def test_a_body_that_stays_half_is_answered_with_408(impatient: str, half: bytes) -> None:
    reply = answered(impatient, half)
    assert reply.status == 408
    assert_problem_document(reply.data, 408)


def test_half_a_request_behind_a_whole_one_is_cut_off(impatient: str) -> None:
    assert answered(impatient, WHOLE + b"GET /hea").status == 201


def test_a_request_is_served_among_many_half_ones(chain_blog: RunningBlog) -> None:
    url = chain_blog.stack.urls["posts"]
    with ExitStack() as crowd:
        for _ in range(100):
            crowd.enter_context(wire.connect(url)).sendall(b"GET /health HT")
        sent = WHOLE.replace(b"Content-Length", b"Connection: close\r\nContent-Length")
        assert send(url, sent).status == 201
