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
    POST_CREATED,
    TOKEN,
    ScriptedService,
    SidecarSetup,
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


# ── The adapter


async def test_a_post_and_its_comment_are_created_in_their_words() -> None:
    script = {
        "POST /posts": encode_answer({"id": "a1", "title": "x"}, "201 Created"),
        "POST /posts/a1/comments": encode_answer(
            [{"id": "c0", "content": "y"}, {"id": 7, "content": "z"}]
        ),
        "GET /posts": encode_answer({"a1": {"id": "a1", "title": "x", "comments": []}}),
    }
    everything = {name: {"service": "app"} for name, _ in Actions()}
    mapping = Actions.model_validate(everything)
    async with sidecar_before(ScriptedService(script), "app", actions=mapping) as setup:
        assert await setup.ask("POST", "/posts", {"title": " x "}) == (
            201,
            {"id": "a1", "title": "x"},
        )
        comment = {"id": "7", "post_id": "a1", "content": "z", "status": "approved"}
        assert await setup.ask("POST", "/posts/a1/comments", {"content": "z"}) == (201, comment)
        entry = {"id": "a1", "title": "x", "comments": []}
        assert await setup.ask("GET", "/feed?limit=5") == (200, [entry])
        post, *_ = setup.service.received
        assert (post.summary, json.loads(post.body)) == ("POST /posts", {"title": "x"})
        assert post.header("Content-Type") == "application/json"
        assert (await setup.state())["feed"]["posts"] == 1


async def test_a_story_goes_on_behind_the_face(tmp_path: Path) -> None:
    spans = tmp_path / "spans.ndjson"
    story = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    foreign = ScriptedService(default=encode_answer({"id": 1}))
    async with sidecar_before(foreign, spans=spans) as setup:
        await setup.ask("POST", "/posts", {"title": "x"}, traceparent=story, tracestate="a=1")
        await setup.state()
        (span,) = map(json.loads, spans.read_text().splitlines())
        assert (span["trace"], span["parent"], span["status"]) == ("a" * 32, "b" * 16, 201)
        (post,) = setup.service.received
        assert post.header("traceparent") == f"00-{'a' * 32}-{span['span']}-01"
        assert post.header("tracestate") == "a=1"


async def test_the_face_of_a_service_has_its_own_actions_only() -> None:
    async with sidecar_before(ScriptedService()) as setup:
        assert (await setup.ask("GET", "/feed"))[0] == 404
        assert (await setup.ask("POST", "/posts/1/comments", {"content": "x"}))[0] == 404
        status, answer = await setup.ask("POST", "/posts", {"title": ""})
        assert (status, answer["field"], setup.service.received) == (400, "title", [])


@pytest.mark.parametrize(
    ("sends", "status", "says"),
    [
        (encode_answer(b"<!DOCTYPE html>"), 502, "HTML, which begins with '<!DOCTYPE html>'"),
        (encode_answer(b"Cannot POST /posts", "404 Not Found"), 404, "Is `path` right?"),
        (
            encode_answer(b"oops", "500 Internal Server Error"),
            500,
            "posts answered 500 to POST /posts",
        ),
    ],
)
async def test_the_face_names_what_it_can_not_read(sends: bytes, status: int, says: str) -> None:
    async with sidecar_before(ScriptedService(default=sends)) as setup:
        answered, answer = await setup.ask("POST", "/posts", {"title": "x"})
        assert (answered, answer["status"]) == (status, status)
        assert says in answer["detail"]
        assert answer["definite"] is (status == 404)


async def test_no_answer_in_time_may_have_been_done() -> None:
    async with sidecar_before(ScriptedService(default=never_answer), answer_within_s=0.05) as setup:
        status, answer = await setup.ask("POST", "/posts", {"title": "x"})
        assert (status, answer["definite"]) == (504, False)
        assert "posts did not answer within 0.05 s" in answer["detail"]
        await until(lambda: setup.service.closed == setup.service.accepted, "a closed connection")


NO_500 = encode_answer(b"", "500 No")


@pytest.mark.parametrize(
    ("says", "options", "error", "because"),
    [
        (POST_CREATED, {"listens": False}, "refused", "nothing listens on port"),
        (POST_CREATED, {"listens": False, "ready": "/x"}, "refused", "nothing listens on port"),
        (close_at_once, {"ready": "/x"}, "reset", "; asked was GET /x. Its log"),
        (NO_500, {"ready": "/x"}, "answer", "it answers 500 to GET /x"),
    ],
)
async def test_health_says_what_is_waited_for(
    says: Any, options: dict[str, Any], error: str, because: str
) -> None:
    async with sidecar_before(ScriptedService(default=says), **options) as setup:
        status, answer = await setup.ask("GET", "/health")
        assert (status, answer["status"], answer["error"]) == (503, "waiting", error)
        assert because in answer["because"]


@pytest.mark.parametrize("ready", [None, "/posts"])
async def test_health_is_good_when_the_service_answers(ready: str | None) -> None:
    async with sidecar_before(
        ScriptedService(default=encode_answer(b"no", "404 Not Found")), ready=ready
    ) as setup:
        answer = {"service": "posts", "arrangement": "foreign", "status": "ready"}
        assert await setup.ask("GET", "/health") == (200, answer)


async def test_only_the_lab_reaches_the_door() -> None:
    async with sidecar_before(ScriptedService()) as setup:
        order = {"kind": "error", "target": "posts", "options": {}}
        for token in ("", "wrong"):
            answer = {"Lab-Token": token}
            assert (await setup.ask("PUT", "/_lab/faults/x", order, **answer))[0] == 403
            assert (await setup.ask("GET", "/_lab/state", **answer))[0] == 403
        assert (await setup.ask("GET", "/health", Host="evil.example"))[0] == 421
        async with open_raw(setup.raw_url) as line:  # here /_lab is a path of the service
            await line.ask("GET /_lab/state", b"", f"Lab-Token: {TOKEN}")
        assert setup.service.received[-1].summary == "GET /_lab/state"
    async with sidecar_before(ScriptedService(), token="") as setup:
        assert (await setup.ask("GET", "/_lab/state", **{"Lab-Token": ""}))[0] == 403


# ── The fault filter


async def status_at_both_ports(setup: SidecarSetup) -> tuple[Any, Any]:
    """The status of a request to the adapter and of one to the raw port, or the error."""

    async def raw() -> int:
        async with open_raw(setup.raw_url) as line:
            return (await line.ask("POST /posts", b"{}"))[0]

    async def face() -> int:
        return (await setup.ask("POST", "/posts", {"title": "x"}))[0]

    one, other = await asyncio.gather(face(), raw(), return_exceptions=True)
    return one, other


@pytest.mark.parametrize(
    ("kind", "options", "met"),
    [("latency", {"ms": 30}, 201), ("error", {"status": 503}, 503), ("reset_peer", {}, OSError)],
)
async def test_a_fault_acts_at_both_ports(kind: str, options: dict[str, Any], met: Any) -> None:
    async with sidecar_before(ScriptedService(default=POST_CREATED)) as setup:
        await setup.add_fault(kind, **options)
        for one in await status_at_both_ports(setup):
            assert one == met or (isinstance(one, OSError) and met is OSError)
        assert len(setup.service.received) == (2 if kind == "latency" else 0)
        evidence = await setup.remove_fault(kind)
        assert (evidence["visitors"], evidence["acted"]) == (2, 2)
        if kind == "latency":
            assert 30 <= evidence["delayed_ms_min"] <= evidence["delayed_ms_max"]
        assert await status_at_both_ports(setup) == (201, 201)


async def test_a_latency_makes_fifty_wait_at_once() -> None:
    async with sidecar_before(ScriptedService(default=POST_CREATED)) as setup:
        await setup.add_fault("latency", ms=600_000)
        asking = asyncio.gather(*(status_at_both_ports(setup) for _ in range(25)))
        await setup.until_under_way(50)
        assert (await setup.remove_fault("latency"))["acted"] == 50
        assert setup.service.received == []
        asking.cancel()
        await setup.until_under_way(0)


@pytest.mark.parametrize("by", ["taking it back", "the end of the sidecar"])
async def test_a_timeout_answers_nobody_until_it_ends(by: str) -> None:
    async with sidecar_before(ScriptedService(default=POST_CREATED)) as setup:
        await setup.add_fault("timeout")
        asking = asyncio.create_task(status_at_both_ports(setup))
        await setup.until_under_way(2)
        assert not asking.done()
        assert setup.service.received == []
        if by == "taking it back":
            assert (await setup.remove_fault("timeout"))["acted"] == 2
            await asking
            assert setup.service.received == []
            assert await status_at_both_ports(setup) == (201, 201)
    errors = await asking
    assert all(isinstance(error, OSError | asyncio.IncompleteReadError) for error in errors), errors


async def test_a_fault_hits_only_as_many_as_it_says() -> None:
    async with sidecar_before(ScriptedService(default=POST_CREATED)) as setup:
        await setup.add_fault("error", status=500, first=1)
        assert sorted(await status_at_both_ports(setup)) == [201, 500]
        evidence = await setup.remove_fault("error")
        assert (evidence["visitors"], evidence["acted"]) == (2, 1)


async def test_a_partition_cuts_one_caller_only() -> None:
    async with (
        sidecar_before(ScriptedService(default=POST_CREATED)) as setup,
        open_raw(setup.raw_url) as cut,
    ):
        await setup.add_fault("partition", **{"from": "comments"})
        await cut.send(encode_request("POST /posts", b"{}", "Lab-Caller: comments"))
        await setup.until_under_way(1)
        assert await status_at_both_ports(setup) == (201, 201)
        evidence = await setup.remove_fault("partition")
        assert (evidence["visitors"], evidence["acted"]) == (1, 1)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await cut.read_answer()


async def test_unmarked_events_come_from_the_bus() -> None:
    async with sidecar_before(ScriptedService()) as setup, open_raw(setup.raw_url) as bus:
        await setup.add_fault("partition", **{"from": "event-bus"})
        await bus.send(encode_request("POST /events", EVENT % 1))
        await setup.until_under_way(1)
        assert (await setup.remove_fault("partition"))["acted"] == 1
        assert setup.service.received == []


def received_event_ids(foreign: ScriptedService) -> list[str]:
    return [json.loads(request.body)["data"]["id"] for request in foreign.received]


async def deliver_events(setup: SidecarSetup, *numbers: int) -> list[int]:
    async with open_raw(setup.raw_url) as bus:
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
    async with sidecar_before(
        ScriptedService({"POST /events": encode_answer({})}, POST_CREATED)
    ) as setup:
        await setup.add_fault(kind, first=1)
        assert await deliver_events(setup, 1) == [200]
        await until(lambda: received_event_ids(setup.service) == after_one, "the first")
        assert await deliver_events(setup, 2) == [200]
        await until(lambda: received_event_ids(setup.service) == after_two, "both")
        assert (await setup.state())["events"] == 2
        assert (await setup.remove_fault(kind))["acted"] == 1
        await setup.add_fault(kind)
        assert await status_at_both_ports(setup) == (201, 201)
        assert (await setup.remove_fault(kind))["visitors"] == 0  # requests are no events


async def test_a_waiting_event_comes_when_its_fault_ends() -> None:
    async with sidecar_before(ScriptedService()) as setup:
        await setup.add_fault("reorder")
        assert await deliver_events(setup, 1) == [200]
        assert setup.service.received == []
        assert (await setup.state())["busy"] is True
        await setup.remove_fault("reorder")
        await until(lambda: setup.service.received, "the event")
        assert received_event_ids(setup.service) == ["1"]
        await until(lambda: not setup.sidecar._state()["busy"], "calm")


async def test_faults_of_the_process_are_no_business_of_the_door() -> None:
    async with sidecar_before(ScriptedService()) as setup:
        order = {"kind": "down", "target": "posts", "options": {}}
        assert (await setup.ask("PUT", "/_lab/faults/x", order))[0] == 400


# ── The program


async def test_the_program_says_where_it_is(tmp_path: Path) -> None:
    mapping = Actions(create_comment=CreateComment(path="/new?post={post_id}"))
    (tmp_path / "mapping.json").write_text(mapping.model_dump_json())
    async with serve_scripted(
        ScriptedService(default=encode_answer([{"id": 3, "content": "x"}]))
    ) as foreign:
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
        async with open_raw(raw[3]) as line:
            assert (await line.ask("GET /x"))[0] == 200
        assert foreign.received[0].summary == "POST /new?post=1"
        program.send_signal(signal.SIGTERM)
        assert await program.wait() == 0


def test_the_program_names_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--name", "posts", "--service-port", "4000", "--mapping"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, '{"create_post": {"path": "/{titel}"}}'])
    message = capsys.readouterr().err
    assert ended.value.code == 2
    assert "create_post" in message
    assert "Did you mean {title}?" in message
