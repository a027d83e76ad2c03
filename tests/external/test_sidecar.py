"""The sidecar before a foreign service: its face, its door at both ports, and the program."""

import asyncio
import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.foreign.answers import MOST_BYTES
from lab.foreign.mapping import Actions, CreateComment
from tests.support.foreign_service import (
    POST,
    TOKEN,
    Before,
    Foreign,
    before,
    closes,
    free_port,
    http,
    request,
    serving,
    silent,
    until,
    wire,
)

ROOT = Path(__file__).parents[2]
EVENT = b'{"type":"PostCreated","data":{"id":"%d"}}'


# The face.


async def test_a_post_and_its_comment_are_created_in_their_words() -> None:
    script = {
        "POST /posts": http({"id": "a1", "title": "x"}, "201 Created"),
        "POST /posts/a1/comments": http([{"id": "c0", "content": "y"}, {"id": 7, "content": "z"}]),
        "GET /posts": http({"a1": {"id": "a1", "title": "x", "comments": []}}),
    }
    everything = {name: {"service": "app"} for name, _ in Actions()}
    mapping = Actions.model_validate(everything)
    async with before(Foreign(script), "app", actions=mapping) as it:
        assert await it.ask("POST", "/posts", {"title": " x "}) == (201, {"id": "a1", "title": "x"})
        comment = {"id": "7", "post_id": "a1", "content": "z", "status": "approved"}
        assert await it.ask("POST", "/posts/a1/comments", {"content": "z"}) == (201, comment)
        entry = {"id": "a1", "title": "x", "comments": []}
        assert await it.ask("GET", "/feed?limit=5") == (200, [entry])
        post, *_ = it.foreign.heard
        assert (post.what, json.loads(post.body)) == ("POST /posts", {"title": "x"})
        assert post.header("Content-Type") == "application/json"
        assert (await it.state())["feed"]["posts"] == 1


async def test_a_story_goes_on_behind_the_face(tmp_path: Path) -> None:
    spans = tmp_path / "spans.ndjson"
    story = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    foreign = Foreign(otherwise=http({"id": 1}))
    async with before(foreign, spans=spans) as it:
        await it.ask("POST", "/posts", {"title": "x"}, traceparent=story)
        await it.state()
        (span,) = map(json.loads, spans.read_text().splitlines())
        assert (span["trace"], span["parent"], span["status"]) == ("a" * 32, "b" * 16, 201)
        assert it.foreign.heard[0].header("traceparent") == f"00-{'a' * 32}-{span['span']}-01"


async def test_the_face_of_a_service_has_its_own_actions_only() -> None:
    async with before(Foreign()) as it:
        assert (await it.ask("GET", "/feed"))[0] == 404
        assert (await it.ask("POST", "/posts/1/comments", {"content": "x"}))[0] == 404
        status, told = await it.ask("POST", "/posts", {"title": ""})
        assert (status, told["field"], it.foreign.heard) == (400, "title", [])


@pytest.mark.parametrize(
    ("sends", "status", "says"),
    [
        (http(b"<!DOCTYPE html>"), 502, "HTML, which begins with '<!DOCTYPE html>'"),
        (http(b"", "302 Found", "Location: /posts/"), 502, "a redirect to '/posts/'"),
        (http(b"Cannot POST /posts", "404 Not Found"), 404, "Is `path` right?"),
        (http(b"oops", "500 Internal Server Error"), 500, "posts answered 500 to POST /posts"),
        (http({"_id": 1}), 502, 'Did you mean `id = "_id"`'),
        (http(b"x" * (MOST_BYTES + 1)), 502, "more than 8 MiB"),
    ],
)
async def test_the_face_names_what_it_can_not_read(sends: bytes, status: int, says: str) -> None:
    async with before(Foreign(otherwise=sends)) as it:
        answered, told = await it.ask("POST", "/posts", {"title": "x"})
        assert (answered, told["status"]) == (status, status)
        assert says in told["detail"]
        assert told["definite"] is (status == 404)


async def test_what_comes_compressed_or_in_chunks_is_read_by_the_face() -> None:
    packed = gzip.compress(b'{"id": 5}')
    frames = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with before(Foreign(otherwise=head + frames)) as it:
        assert (await it.ask("POST", "/posts", {"title": "x"}))[1]["id"] == "5"


async def test_no_answer_in_time_leaves_open_whether_it_was_done() -> None:
    async with before(Foreign(otherwise=silent), answer_within_s=0.05) as it:
        status, told = await it.ask("POST", "/posts", {"title": "x"})
        assert (status, told["definite"]) == (504, False)
        assert "posts did not answer within 0.05 s" in told["detail"]
        await until(lambda: it.foreign.closed == 1, "a closed connection")


@pytest.mark.parametrize(
    ("foreign", "options", "error", "says"),
    [
        (Foreign(), {"listens": False}, "refused", "nothing listens on port"),
        (Foreign(), {"listens": False, "ready": "/x"}, "refused", "nothing listens on port"),
        (Foreign(otherwise=closes), {"ready": "/x"}, "reset", "; asked was GET /x. Its log"),
        (
            Foreign(otherwise=http(b"", "500 No")),
            {"ready": "/x"},
            "answer",
            "it answers 500 to GET /x",
        ),
    ],
)
async def test_health_says_what_is_waited_for(
    foreign: Foreign, options: dict[str, Any], error: str, says: str
) -> None:
    async with before(foreign, **options) as it:
        status, told = await it.ask("GET", "/health")
        assert (status, told["status"], told["error"]) == (503, "waiting", error)
        assert says in told["because"]


@pytest.mark.parametrize("ready", [None, "/posts"])
async def test_health_is_good_when_the_service_answers(ready: str | None) -> None:
    async with before(Foreign(otherwise=http(b"no", "404 Not Found")), ready=ready) as it:
        told = {"service": "posts", "arrangement": "foreign", "status": "ready"}
        assert await it.ask("GET", "/health") == (200, told)


async def test_only_the_lab_reaches_the_door() -> None:
    async with before(Foreign()) as it:
        order = {"kind": "error", "target": "posts", "options": {}}
        for token in ("", "wrong"):
            told = {"Lab-Token": token}
            assert (await it.ask("PUT", "/_lab/faults/x", order, **told))[0] == 403
            assert (await it.ask("GET", "/_lab/state", **told))[0] == 403
        assert (await it.ask("GET", "/health", Host="evil.example"))[0] == 421
        async with wire(it.raw) as line:  # there, /_lab is a path of the service like any other
            await line.ask("GET /_lab/state", b"", f"Lab-Token: {TOKEN}")
        assert it.foreign.heard[-1].what == "GET /_lab/state"
    async with before(Foreign(), token="") as it:
        assert (await it.ask("GET", "/_lab/state", **{"Lab-Token": ""}))[0] == 403


# The door.


async def at_both_ports(it: Before) -> tuple[Any, Any]:
    """The status of a request to the face, and of one to the raw port; or what error there was."""

    async def raw() -> int:
        async with wire(it.raw) as line:
            return (await line.ask("POST /posts", b"{}"))[0]

    async def face() -> int:
        return (await it.ask("POST", "/posts", {"title": "x"}))[0]

    one, other = await asyncio.gather(face(), raw(), return_exceptions=True)
    return one, other


async def test_a_latency_delays_at_both_ports_and_tells_by_how_much() -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("latency", ms=30)
        assert await at_both_ports(it) == (201, 201)
        evidence = await it.take("latency")
        assert (evidence["visitors"], evidence["acted"]) == (2, 2)
        assert 30 <= evidence["delayed_ms_min"] <= evidence["delayed_ms_max"]
        assert await at_both_ports(it) == (201, 201)
        assert len(it.foreign.heard) == 4


async def test_a_latency_makes_fifty_wait_at_once_and_not_one_after_the_other() -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("latency", ms=600_000)
        asking = asyncio.gather(*(at_both_ports(it) for _ in range(25)))
        await it.until_under_way(50)
        assert (await it.take("latency"))["acted"] == 50
        assert it.foreign.heard == []
        asking.cancel()
        await it.until_under_way(0)


async def test_an_error_is_answered_at_both_ports() -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("error", status=503)
        assert await at_both_ports(it) == (503, 503)
        assert it.foreign.heard == []
        assert (await it.take("error"))["acted"] == 2
        assert await at_both_ports(it) == (201, 201)


async def test_a_reset_tears_both_connections_down() -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("reset_peer")
        errors = await at_both_ports(it)
        assert all(isinstance(error, ConnectionError | OSError) for error in errors), errors
        assert it.foreign.heard == []
        assert (await it.take("reset_peer"))["acted"] == 2
        assert await at_both_ports(it) == (201, 201)


async def test_a_timeout_answers_nobody_until_it_is_taken_back() -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("timeout")
        asking = asyncio.create_task(at_both_ports(it))
        await it.until_under_way(2)
        assert not asking.done()
        assert (await it.take("timeout"))["acted"] == 2
        errors = await asking
        assert all(isinstance(error, OSError | asyncio.IncompleteReadError) for error in errors)
        assert it.foreign.heard == []
        assert await at_both_ports(it) == (201, 201)


async def test_a_fault_hits_only_as_many_as_it_says() -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("error", status=500, first=1)
        assert sorted(await at_both_ports(it)) == [201, 500]
        evidence = await it.take("error")
        assert (evidence["visitors"], evidence["acted"]) == (2, 1)


async def test_a_partition_cuts_one_caller_and_lets_the_others_through() -> None:
    async with before(Foreign(otherwise=POST)) as it, wire(it.raw) as cut:
        await it.put("partition", **{"from": "comments"})
        await cut.send(request("POST /posts", b"{}", "Lab-Caller: comments"))
        await it.until_under_way(1)
        assert await at_both_ports(it) == (201, 201)
        evidence = await it.take("partition")
        assert (evidence["visitors"], evidence["acted"]) == (1, 1)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await cut.answer()


async def test_events_come_from_the_bus_even_when_nobody_says_so() -> None:
    async with before(Foreign()) as it, wire(it.raw) as bus:
        await it.put("partition", **{"from": "event-bus"})
        await bus.send(request("POST /events", EVENT % 1))
        await it.until_under_way(1)
        assert (await it.take("partition"))["acted"] == 1
        assert it.foreign.heard == []


def events(foreign: Foreign) -> list[str]:
    return [json.loads(heard.body)["data"]["id"] for heard in foreign.heard]


async def bring(it: Before, *numbers: int) -> list[int]:
    async with wire(it.raw) as bus:
        return [(await bus.ask("POST /events", EVENT % number))[0] for number in numbers]


async def test_an_event_can_be_lost_without_the_bus_noticing() -> None:
    async with before(Foreign()) as it:
        await it.put("drop", first=1)
        assert await bring(it, 1, 2) == [200, 200]
        assert events(it.foreign) == ["2"]
        assert (await it.take("drop"))["acted"] == 1
        assert await at_both_ports(it) != (404, 404)
        assert (await it.state())["events"] == 2


async def test_an_event_can_come_twice() -> None:
    async with before(Foreign()) as it:
        await it.put("duplicate", first=1)
        assert await bring(it, 1) == [200]
        await until(lambda: len(it.foreign.heard) == 2, "both")
        assert await bring(it, 2) == [200]
        assert events(it.foreign) == ["1", "1", "2"]
        assert (await it.take("duplicate"))["acted"] == 1


async def test_an_event_can_be_overtaken() -> None:
    async with before(Foreign()) as it:
        await it.put("reorder", first=1)
        assert await bring(it, 1, 2) == [200, 200]
        await until(lambda: len(it.foreign.heard) == 2, "both")
        assert events(it.foreign) == ["2", "1"]
        assert (await it.take("reorder"))["acted"] == 1


async def test_an_event_that_waits_when_its_fault_ends_comes_in_then() -> None:
    async with before(Foreign()) as it:
        await it.put("reorder")
        assert await bring(it, 1) == [200]
        assert it.foreign.heard == []
        assert (await it.state())["busy"] is True
        await it.take("reorder")
        await until(lambda: it.foreign.heard, "the event")
        assert events(it.foreign) == ["1"]
        await until(lambda: not it.sidecar._state()["busy"], "calm")


async def test_requests_that_are_no_events_pass_by_the_faults_of_events() -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("drop")
        assert await at_both_ports(it) == (201, 201)
        assert (await it.take("drop"))["visitors"] == 0


async def test_faults_of_the_process_are_no_business_of_the_door() -> None:
    async with before(Foreign()) as it:
        order = {"kind": "down", "target": "posts", "options": {}}
        assert (await it.ask("PUT", "/_lab/faults/x", order))[0] == 400


async def test_the_end_takes_faults_back_and_leaves_nobody_waiting() -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("timeout")
        asking = asyncio.create_task(at_both_ports(it))
        await it.until_under_way(2)
    errors = await asking
    assert all(isinstance(error, OSError | asyncio.IncompleteReadError) for error in errors), errors


# The program.


def run(*argv: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lab.foreign.sidecar", *argv]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)


async def test_the_program_says_where_it_is_and_ends_when_told(tmp_path: Path) -> None:
    mapping = Actions(create_comment=CreateComment(path="/new?post={post_id}"))
    (tmp_path / "mapping.json").write_text(mapping.model_dump_json())
    async with serving(Foreign(otherwise=http([{"id": 3, "content": "x"}]))) as foreign:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lab.foreign.sidecar", "--name", "comments"),
            *("--service-port", str(foreign.port), "--raw-port", "0"),
            *("--mapping", str(tmp_path / "mapping.json"), "--host", "event-bus:80=4005"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert program.stdout is not None
        face = (await program.stdout.readline()).decode().split()
        raw = (await program.stdout.readline()).decode().split()
        assert (face[:2], raw[:3]) == (["foreign", "comments:"], ["foreign", "comments,", "raw:"])
        async with wire(face[2]) as line:
            port = face[2].rpartition(":")[2]
            body = b'{"content": "x"}'
            sent = request("POST /posts/1/comments", body, "Content-Type: application/json")
            await line.send(sent.replace(b"localhost:4000", b"127.0.0.1:" + port.encode()))
            assert json.loads((await line.answer())[1])["id"] == "3"
        async with wire(raw[3]) as line:
            assert (await line.ask("GET /x"))[0] == 200
        assert foreign.heard[0].what == "POST /new?post=1"
        program.send_signal(signal.SIGTERM)
        assert await program.wait() == 0


async def test_the_program_says_what_is_wrong_with_its_arguments() -> None:
    port = str(await free_port())
    given = ("--name", "posts", "--service-port", port)
    wrong = await asyncio.to_thread(
        run, *given, "--mapping", '{"create_post": {"path": "/{titel}"}}'
    )
    assert wrong.returncode == 2
    assert "create_post" in wrong.stderr
    assert "Did you mean {title}?" in wrong.stderr
