"""Requests that are wrong before any body is read: path, host, method, or not HTTP at all."""

import pytest

from lab.cluster.ports import reserve
from lab.cluster.program import Program
from tests.support import wire
from tests.support.laboratory import Laboratory, RunningBlog
from tests.support.refusals import assert_is_problem, assert_problem_document

BAD_QUERIES = {
    "limit=0": "limit",
    "limit=101": "limit",
    "limit=-1": "limit",
    "limit=x": "limit",
    "limit=": "limit",
    "limit=1.5": "limit",
    "limit=" + "9" * 5_000: "limit",
    "limit=%FF": "limit",
    "offset=3": "offset",
    "before=a&Limit=3": "Limit",
}
BAD_NUMBERS = ("-1", "x", "1.5", str(2**63), "179635945205052099480518656", "9" * 5_000)
BUGGY = ("/plain", "/raw")


def test_a_bad_query_parameter_is_named(blog: RunningBlog) -> None:
    for query, field in BAD_QUERIES.items():
        for target, path in (("posts", "/posts"), ("query", "/feed")):
            assert_is_problem(blog.ask("GET", target, f"{path}?{query}"), 400, field)
    assert_is_problem(blog.ask("GET", "comments", "/comments"), 400, "post_ids")


def test_a_number_that_no_database_stores_is_refused(blog: RunningBlog) -> None:
    for number in BAD_NUMBERS:
        refused = blog.ask("GET", "moderation", f"/verdicts?after={number}")
        assert_is_problem(refused, 400, "after")
    assert blog.get("moderation", "/verdicts", after=2**63 - 1) == []


@pytest.mark.parametrize("escape", ["%", "%Z", "%ZZ", "%FF", "%ED%A0%80", "%C0%AF", "%00", "%F8"])
def test_a_meaningless_percent_escape_is_no_server_error(
    blogs: dict[str, RunningBlog], escape: str
) -> None:
    for blog in blogs.values():
        for target, path in (
            ("posts", f"/posts/{escape}"),
            ("posts", f"/{escape}"),
            ("comments", f"/posts/{escape}/comments"),
            ("posts", f"/posts?before={escape}"),
            ("comments", f"/comments?post_ids={escape}"),
            ("query", f"/feed?{escape}={escape}"),
        ):
            url = blog.stack.urls[target]
            reply = wire.send(url, wire.request(url, f"GET {path}"))
            assert reply.status in (200, 400, 404), path
            if reply.status != 200:
                assert_problem_document(reply.data, reply.status, reply.data.get("field"))


MALFORMED: dict[str, bytes] = {
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no version": b"GET /health HTTP/x\r\nHost: HOST\r\n\r\n",
    "a number of a length": b"POST /posts HTTP/1.1\r\nHost: HOST\r\nContent-Length: x\r\n\r\n",
    "two lengths": b"POST /posts HTTP/1.1\r\nHost: HOST\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: HOST\r\nHost: evil.example\r\n\r\n",
    "no chunk": b"POST /posts HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "a long line": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: HOST\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a header without colon": b"GET /health HTTP/1.1\r\nHost: HOST\r\nnonsense\r\n\r\n",
    "half an address": b"GET http://[::1/health HTTP/1.1\r\nHost: HOST\r\n\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_http_gets_a_problem_document(
    blogs: dict[str, RunningBlog], sent: bytes
) -> None:
    for blog in blogs.values():
        for target, url in blog.stack.urls.items():
            host = url.removeprefix("http://").encode()
            reply = wire.send(url, sent.replace(b"HOST", host))
            assert (reply.status, reply.content_type) == (400, "application/problem+json"), target
            assert_problem_document(reply.data, 400)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:PORT", "127.0.0.1", "[::1]:PORT"])
def test_a_request_for_another_host_is_refused_everywhere(
    blogs: dict[str, RunningBlog], host: str
) -> None:
    for blog in blogs.values():
        for target, url in blog.stack.urls.items():
            named = host.replace("PORT", url.rpartition(":")[2])
            for path in ("/health", "/posts", "/feed", "/_lab/faults", "/events"):
                assert_is_problem(blog.ask("GET", target, path, headers={"Host": named}), 421)


def test_localhost_is_this_host_and_no_host_is_none(blog: RunningBlog) -> None:
    for target, url in blog.stack.urls.items():
        assert blog.ask("GET", target, "/health", headers={"Host": f"localhost:{url[17:]}"}).ok
        reply = wire.send(url, b"GET /health HTTP/1.0\r\n\r\n")
        assert reply.status == 421
        assert_problem_document(reply.data, 421)


def test_a_method_that_is_unknown_there_is_refused(blog: RunningBlog) -> None:
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        for target, path in (("posts", "/posts"), ("query", "/feed"), ("comments", "/health")):
            url = blog.stack.urls[target]
            reply = wire.send(url, wire.request(url, f"{method} {path}"))
            # The parser itself knows the methods of HTTP, and rejects others.
            assert reply.status == (400 if method == "BREW" else 405)
            assert_problem_document(reply.data, reply.status)
    assert blog.ask("PUT", "posts", "/posts").headers["Allow"] == "POST, GET"


def test_a_path_with_nothing_behind_it_is_404(blog: RunningBlog) -> None:
    for path in ("/", "/posts/", "//posts", "/posts/a/b", "/_lab", "/feed/../x"):
        for url in blog.stack.urls.values():
            reply = wire.send(url, wire.request(url, f"GET {path}"))
            assert reply.status == 404
            assert_problem_document(reply.data, 404)


def test_a_bug_shows_no_inside_and_is_not_definite(laboratory: Laboratory) -> None:
    """The error may come after the commit, so it is open whether the request took effect."""
    log = laboratory.folder / "clumsy.log"
    with reserve() as port:
        url = f"http://127.0.0.1:{port.port}"
        argv = ("--port", str(port.port), "--reuse-port")
        program = Program("clumsy", "tests.programs.clumsy", argv, log, health=f"{url}/health")
        with laboratory.start(program):
            replies = [wire.send(url, wire.request(url, f"GET {path}")) for path in BUGGY]
    for reply in replies:
        assert (reply.status, reply.content_type) == (500, "application/problem+json")
        assert reply.data["definite"] is False
        assert b"secret" not in reply.body
    assert log.read_text().count("RuntimeError: a secret of the inside") == len(BUGGY)
