"""A sidecar of an external service: its adapter, its fault filter on both ports, its program."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lab.external.mapping import Actions, CreateComment
from lab.external.sidecar import main
from tests.support.foreign_service import (
    POST,
    TOKEN,
    Before,
    Foreign,
    before,
    closes,
    http,
    request,
    serving,
    silent,
    until,
    wire,
)

EVENT = b'{"type":"PostCreated","data":{"id":"%d"}}'


# ── The adapter


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
        (http(b"Cannot POST /posts", "404 Not Found"), 404, "Is `path` right?"),
        (http(b"oops", "500 Internal Server Error"), 500, "posts answered 500 to POST /posts"),
    ],
)
async def test_the_face_names_what_it_can_not_read(sends: bytes, status: int, says: str) -> None:
    async with before(Foreign(otherwise=sends)) as it:
        answered, told = await it.ask("POST", "/posts", {"title": "x"})
        assert (answered, told["status"]) == (status, status)
        assert says in told["detail"]
        assert told["definite"] is (status == 404)


async def test_no_answer_in_time_may_have_been_done() -> None:
    async with before(Foreign(otherwise=silent), answer_within_s=0.05) as it:
        status, told = await it.ask("POST", "/posts", {"title": "x"})
        assert (status, told["definite"]) == (504, False)
        assert "posts did not answer within 0.05 s" in told["detail"]
        await until(lambda: it.foreign.closed == it.foreign.accepted, "a closed connection")


NO_500 = http(b"", "500 No")


@pytest.mark.parametrize(
    ("says", "options", "error", "because"),
    [
        (POST, {"listens": False}, "refused", "nothing listens on port"),
        (POST, {"listens": False, "ready": "/x"}, "refused", "nothing listens on port"),
        (closes, {"ready": "/x"}, "reset", "; asked was GET /x. Its log"),
        (NO_500, {"ready": "/x"}, "answer", "it answers 500 to GET /x"),
    ],
)
async def test_health_says_what_is_waited_for(
    says: Any, options: dict[str, Any], error: str, because: str
) -> None:
    async with before(Foreign(otherwise=says), **options) as it:
        status, told = await it.ask("GET", "/health")
        assert (status, told["status"], told["error"]) == (503, "waiting", error)
        assert because in told["because"]


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
        async with wire(it.raw) as line:  # here /_lab is a path of the service
            await line.ask("GET /_lab/state", b"", f"Lab-Token: {TOKEN}")
        assert it.foreign.heard[-1].what == "GET /_lab/state"
    async with before(Foreign(), token="") as it:
        assert (await it.ask("GET", "/_lab/state", **{"Lab-Token": ""}))[0] == 403


# ── The fault filter


async def at_both_ports(it: Before) -> tuple[Any, Any]:
    """The status of a request to the adapter and of one to the raw port, or the error."""

    async def raw() -> int:
        async with wire(it.raw) as line:
            return (await line.ask("POST /posts", b"{}"))[0]

    async def face() -> int:
        return (await it.ask("POST", "/posts", {"title": "x"}))[0]

    one, other = await asyncio.gather(face(), raw(), return_exceptions=True)
    return one, other


@pytest.mark.parametrize(
    ("kind", "options", "met"),
    [("latency", {"ms": 30}, 201), ("error", {"status": 503}, 503), ("reset_peer", {}, OSError)],
)
async def test_a_fault_acts_at_both_ports(kind: str, options: dict[str, Any], met: Any) -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put(kind, **options)
        for one in await at_both_ports(it):
            assert one == met or (isinstance(one, OSError) and met is OSError)
        assert len(it.foreign.heard) == (2 if kind == "latency" else 0)
        evidence = await it.take(kind)
        assert (evidence["visitors"], evidence["acted"]) == (2, 2)
        if kind == "latency":
            assert 30 <= evidence["delayed_ms_min"] <= evidence["delayed_ms_max"]
        assert await at_both_ports(it) == (201, 201)


async def test_a_latency_makes_fifty_wait_at_once() -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("latency", ms=600_000)
        asking = asyncio.gather(*(at_both_ports(it) for _ in range(25)))
        await it.until_under_way(50)
        assert (await it.take("latency"))["acted"] == 50
        assert it.foreign.heard == []
        asking.cancel()
        await it.until_under_way(0)


@pytest.mark.parametrize("by", ["taking it back", "the end of the sidecar"])
async def test_a_timeout_answers_nobody_until_it_ends(by: str) -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("timeout")
        asking = asyncio.create_task(at_both_ports(it))
        await it.until_under_way(2)
        assert not asking.done()
        assert it.foreign.heard == []
        if by == "taking it back":
            assert (await it.take("timeout"))["acted"] == 2
            await asking
            assert it.foreign.heard == []
            assert await at_both_ports(it) == (201, 201)
    errors = await asking
    assert all(isinstance(error, OSError | asyncio.IncompleteReadError) for error in errors), errors


async def test_a_fault_hits_only_as_many_as_it_says() -> None:
    async with before(Foreign(otherwise=POST)) as it:
        await it.put("error", status=500, first=1)
        assert sorted(await at_both_ports(it)) == [201, 500]
        evidence = await it.take("error")
        assert (evidence["visitors"], evidence["acted"]) == (2, 1)


async def test_a_partition_cuts_one_caller_only() -> None:
    async with before(Foreign(otherwise=POST)) as it, wire(it.raw) as cut:
        await it.put("partition", **{"from": "comments"})
        await cut.send(request("POST /posts", b"{}", "Lab-Caller: comments"))
        await it.until_under_way(1)
        assert await at_both_ports(it) == (201, 201)
        evidence = await it.take("partition")
        assert (evidence["visitors"], evidence["acted"]) == (1, 1)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await cut.answer()


async def test_unmarked_events_come_from_the_bus() -> None:
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


@pytest.mark.parametrize(
    ("kind", "after_one", "after_two"),
    [
        ("drop", [], ["2"]),
        ("duplicate", ["1", "1"], ["1", "1", "2"]),
        ("reorder", [], ["2", "1"]),
    ],
)
async def test_a_fault_of_events_is_not_noticed_by_the_bus(
    kind: str, after_one: list[str], after_two: list[str]
) -> None:
    async with before(Foreign({"POST /events": http({})}, POST)) as it:
        await it.put(kind, first=1)
        assert await bring(it, 1) == [200]
        await until(lambda: events(it.foreign) == after_one, "the first")
        assert await bring(it, 2) == [200]
        await until(lambda: events(it.foreign) == after_two, "both")
        assert (await it.state())["events"] == 2
        assert (await it.take(kind))["acted"] == 1
        await it.put(kind)
        assert await at_both_ports(it) == (201, 201)
        assert (await it.take(kind))["visitors"] == 0  # requests are no events


async def test_a_waiting_event_comes_when_its_fault_ends() -> None:
    async with before(Foreign()) as it:
        await it.put("reorder")
        assert await bring(it, 1) == [200]
        assert it.foreign.heard == []
        assert (await it.state())["busy"] is True
        await it.take("reorder")
        await until(lambda: it.foreign.heard, "the event")
        assert events(it.foreign) == ["1"]
        await until(lambda: not it.sidecar._state()["busy"], "calm")


async def test_faults_of_the_process_are_no_business_of_the_door() -> None:
    async with before(Foreign()) as it:
        order = {"kind": "down", "target": "posts", "options": {}}
        assert (await it.ask("PUT", "/_lab/faults/x", order))[0] == 400


# ── The program


async def test_the_program_says_where_it_is(tmp_path: Path) -> None:
    mapping = Actions(create_comment=CreateComment(path="/new?post={post_id}"))
    (tmp_path / "mapping.json").write_text(mapping.model_dump_json())
    async with serving(Foreign(otherwise=http([{"id": 3, "content": "x"}]))) as foreign:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lab.external.sidecar", "--name", "comments"),
            *("--service-port", str(foreign.port), "--raw-port", "0"),
            *("--mapping", str(tmp_path / "mapping.json"), "--host", "event-bus:80=4005"),
            stdout=subprocess.PIPE,
        )
        assert program.stdout is not None
        face = (await program.stdout.readline()).decode().split()
        raw = (await program.stdout.readline()).decode().split()
        assert (face[:2], raw[:3]) == (["foreign", "comments:"], ["foreign", "comments,", "raw:"])
        async with aiohttp.ClientSession() as client:
            asked = client.post(f"{face[2]}/posts/1/comments", json={"content": "x"})
            async with asked as response:
                assert (await response.json())["id"] == "3"
        async with wire(raw[3]) as line:
            assert (await line.ask("GET /x"))[0] == 200
        assert foreign.heard[0].what == "POST /new?post=1"
        program.send_signal(signal.SIGTERM)
        assert await program.wait() == 0


def test_the_program_names_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--name", "posts", "--service-port", "4000", "--mapping"]
    with pytest.raises(SystemExit) as ended:
        main([*given, '{"create_post": {"path": "/{titel}"}}'])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "create_post" in said
    assert "Did you mean {title}?" in said
