"""HTTP calls to a failing callee: each way of failing has its own error."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.domain.errors import BadGateway, NotFound, ServiceError, TimedOut, Unreachable
from lab.domain.model import CommentDraft
from lab.service import tracing
from lab.sync_chain.ask.http import HttpTransport
from tests.support.laboratory import PATIENCE_S

JSON = b"Content-Type: application/json\r\n"


def answer(status: str, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status.encode(), JSON, size, body)


@contextmanager
def peer(response: bytes, *, then_silent: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """A TCP peer that sends `said`, then closes or stays silent; yields (URL, requests)."""
    received_requests: list[bytes] = []
    closing = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                received = b""
                while not received.endswith(b"}"):  # the end of every request's body
                    received += connection.recv(65536)
                received_requests.append(received)
                connection.sendall(response)
                if then_silent:
                    closing.wait(PATIENCE_S)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", received_requests
        finally:
            closing.set()
            thread.join()


def ask(url: str, timeout_s: float = PATIENCE_S) -> object:
    transport = HttpTransport({"posts": url}, timeout_s)
    return transport("posts", "POST", "/verdicts", CommentDraft(content="ü"), {"limit": 3})


def test_question_and_answer_arrive_whole() -> None:
    with (
        peer(answer("200 OK", b'{"status": "approved"}')) as (url, asked),
        tracing.SpanLog(None, "tests").span("x", "server", f"00-{'a' * 32}-{'b' * 16}-01", "a=1"),
    ):
        assert ask(url) == {"status": "approved"}
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /verdicts?limit=3 HTTP/1.1")
    assert b"traceparent: 00-" + b"a" * 32 in head
    assert b"tracestate: a=1\r\n" in head
    assert b"application/json" in head
    assert body == '{"content":"ü"}'.encode()


FAILURES: dict[str, tuple[bytes, type[ServiceError], bool]] = {
    "unknown": (answer("404 Not Found", b'{"detail": "no such post"}'), NotFound, True),
    "surely not done": (answer("503 No", b'{"definite": true}'), BadGateway, True),
    "perhaps done": (answer("504 No", b'{"definite": false}'), BadGateway, False),
    "does not say whether": (answer("500 No", b'{"detail": "a bug"}'), BadGateway, False),
    "an error that is no object": (answer("500 No", b"[]"), BadGateway, False),
    "no JSON": (answer("200 OK", b"<html>"), BadGateway, False),
    "no JSON, and an error": (answer("502 No", b"nginx"), BadGateway, False),
    "no answer": (b"", BadGateway, False),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le", BadGateway, False),
    "no HTTP": (b"220 smtp.example ready\r\n", BadGateway, False),
    "half a body": (answer("200 OK", b'{"stat', length=22), BadGateway, False),
    "half a chunk": (
        b"HTTP/1.1 200 OK\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n10\r\n{",
        BadGateway,
        False,
    ),
    "no gzip": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        BadGateway,
        False,
    ),
}


@pytest.mark.parametrize(("said", "kind", "definite"), FAILURES.values(), ids=FAILURES)
def test_every_failure_knows_whether_it_is_definite(
    said: bytes, kind: type[ServiceError], definite: bool
) -> None:
    with peer(said) as (url, _), pytest.raises(kind) as caught:
        ask(url)
    assert caught.value.definite is definite
    assert caught.value.detail


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", answer("200 OK", b"{", length=9)])
def test_silence_is_a_timeout_and_not_definite(said: bytes) -> None:
    with peer(said, then_silent=True) as (url, _), pytest.raises(TimedOut) as caught:
        ask(url, timeout_s=0.1)
    assert caught.value.definite is False


def test_a_refused_connection_is_definite() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound but not listening
        with pytest.raises(Unreachable) as caught:
            ask(f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert caught.value.definite is True


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with peer(answer("200 OK", b"{}")) as (url, _):
        assert ask(url) == {}
