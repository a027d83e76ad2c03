"""The console with both stacks behind it: it draws traffic, injects faults, heals, resets, ends.

No test waits for a fixed time: each waits for a tick with a certain content.
"""

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import psutil
import pytest

from lab.live.panes import TWIN_PANES, make_panes
from lab.live.sandbox import control_client
from lab.live.sandbox.instances import find_running_labs
from lab.scenarios.catalogue import find
from tests.support.live_world import (
    ConsoleClient,
    ConsoleThread,
    EventStream,
    run_console,
    spectator_port,
    with_patience,
)

CHAIN, BUS = (half.name for half in TWIN_PANES)
RATE = 5.0  # low enough for a busy machine, so that its queue shrinks
SCRIPT = with_patience(find("downed-service").at_rate(RATE))
MIX = {"read_feed": 6, "create_post": 1, "create_comment": 3}
NUMBERS = count(10)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleThread]:
    with run_console(tmp_path_factory.mktemp("live"), share_port=0, script=SCRIPT) as console:
        yield console


@pytest.fixture
def live(console: ConsoleThread) -> Iterator[ConsoleThread]:
    yield console
    console.post("/api/heal")
    console.post("/api/load", rate=RATE, mix=MIX)


@pytest.fixture
def screen(live: ConsoleThread) -> Iterator[EventStream]:
    with live.stream() as stream:
        yield stream


def count_sent(half: Any) -> int:
    return half["reads"]["sent"] + half["writes"]["sent"]


def stop_load_and_wait(
    live: ConsoleThread, screen: EventStream, on_tick: Callable[[Any], object] = lambda panes: None
) -> None:
    """Stop the load, and wait until no request is in flight; `look` gets each tick until then."""
    # Ticks contain the load only when it changes, so this one must differ from all before.
    load = {"rate": 0, "mix": {"read_feed": next(NUMBERS)}}
    live.post("/api/load", **load)
    is_over, quiet = False, 0

    def is_at_rest(tick: Any) -> bool:
        nonlocal is_over, quiet
        on_tick(tick["halves"])
        is_over = is_over or tick.get("load") == load
        moves = any(count_sent(half) or half["waiting"] for half in tick["halves"].values())
        quiet = quiet + 1 if is_over and not moves else 0
        return quiet == 3

    screen.until("tick", is_at_rest)


def test_a_screen_first_gets_what_to_draw_and_the_past(
    live: ConsoleThread, screen: EventStream
) -> None:
    hello = screen.until("hello")
    assert [half["name"] for half in hello["halves"]] == [CHAIN, BUS]
    assert [half["side"] for half in hello["halves"]] == ["ask", "tell"]
    assert ["query", "posts"] in hello["halves"][0]["edges"]
    assert ["event-bus", "query"] in hello["halves"][1]["edges"]
    assert hello["role"] == "presenter"
    assert hello["load"]["rate"] == RATE
    assert hello["claims"]["one-down"]
    screen.until_healthy()
    with live.stream() as late:
        history = late.until("hello")["history"]
        tick = late.until("tick")
    assert history
    times = [past_tick["t"] for past_tick in [*history, tick]]
    assert times == sorted(times)
    assert all(half["hops"] == [] for past_tick in history for half in past_tick["halves"].values())


def test_requests_and_events_are_drawn_along_the_edges(screen: EventStream) -> None:
    wanted = {
        CHAIN: {("client", "query", "ask"), ("query", "posts", "ask")},
        BUS: {("comments", "event-bus", "tell"), ("event-bus", "query", "tell")},
    }
    drawn: dict[str, set[tuple[str, ...]]] = {CHAIN: set(), BUS: set()}

    def all_are_there(panes: Any) -> bool:
        for name, half in panes.items():
            drawn[name] |= {tuple(hop[:3]) for hop in half["hops"]}
            assert len(half["hops"]) <= 30
        return all(wanted[name] <= drawn[name] for name in wanted)

    screen.tick(all_are_there)
    for half in make_panes([CHAIN, BUS], None):
        edges = {tuple(edge) for edge in half.to_json()["edges"]}
        assert {hop[:2] for hop in drawn[half.name] if hop[0] != "client"} <= edges


def test_killing_comments_breaks_only_the_reads_of_the_chain(
    live: ConsoleThread, screen: EventStream
) -> None:
    screen.until_healthy()
    deeds = live.post("/api/fault", kind="down", target="comments")["deeds"]
    assert [(deed["stack"], deed["state"]) for deed in deeds] == [(CHAIN, "on"), (BUS, "on")]
    facts: set[str] = set()
    wanted = {"503 on the chain", "good reads on the bus", "both down", "fault", "on", "said"}
    while facts != wanted:
        name, data = screen.next()
        if name == "done":
            facts.add(data["kind"])
        if name == "faults":
            on = [(fault["half"], fault["target"], fault["kind"]) for fault in data]
            assert on == [(CHAIN, "comments", "down"), (BUS, "comments", "down")]
            facts.add("on")
        if name == "seen" and data["claim"] == "one-down":
            assert "comments" in data["says"]
            facts.add("said")
        if name == "tick":
            chain, bus = (data["halves"][half] for half in (CHAIN, BUS))
            assert bus["reads"]["errors"] == {}
            if "http_503" in chain["reads"]["errors"]:
                facts.add("503 on the chain")
            if bus["reads"]["ok"]:
                facts.add("good reads on the bus")
            if [half["nodes"]["comments"]["up"] for half in (chain, bus)] == [False, False]:
                facts.add("both down")
    page = screen.wait_for(lambda: (page := live.blog(CHAIN))["status"] == 503 and page)
    assert page["problem"]["status"] == 503
    assert live.blog(BUS)["status"] == 200
    answer = live.post("/api/comment", half=BUS, post_id="x", content="y")
    assert answer == {"status": 0, "error": "refused"}
    live.post("/api/heal", target="comments")
    assert screen.until("faults", lambda on: on == []) == []
    screen.until_healthy()


def test_a_hanging_service_fills_the_workers_of_its_callers(
    live: ConsoleThread, screen: EventStream
) -> None:
    live.post("/api/load", rate=40)
    live.post("/api/fault", kind="hang", target="comments", half=CHAIN)

    seen: set[str] = set()

    def all_is_seen(panes: Any) -> bool:
        query = panes[CHAIN]["nodes"]["query"]
        if query["queue"] > 0 and query["busy"] == query["workers"] == 8:
            seen.add("full")
        if panes[CHAIN]["nodes"]["comments"]["up"] == "hangs":
            seen.add("hangs")
        if panes[BUS]["nodes"]["comments"]["up"] is True and panes[BUS]["reads"]["ok"]:
            seen.add("works")
        return seen == {"full", "hangs", "works"}

    screen.tick(all_is_seen)
    live.post("/api/heal")
    stop_load_and_wait(live, screen)  # on a busy machine the queue would not shrink under load
    live.post("/api/load", rate=RATE, mix=MIX)
    screen.until_healthy()


def test_a_downed_bus_fills_outboxes_and_ages_the_feed(
    live: ConsoleThread, screen: EventStream
) -> None:
    live.post("/api/fault", kind="down", target="event-bus")
    screen.tick(
        lambda panes: (
            panes[BUS]["nodes"]["comments"]["untold"] > 3
            and panes[BUS]["feed_age_ms"] > 0
            and panes[BUS]["unseen"] > 0
        )
    )
    live.post("/api/heal")
    stop_load_and_wait(live, screen)
    screen.tick(
        lambda panes: not panes[BUS]["nodes"]["comments"]["untold"] and not panes[BUS]["unseen"]
    )


def test_lab_fault_and_lab_heal_show_on_every_screen(screen: EventStream) -> None:
    (lab,) = find_running_labs()
    control_client.inject_fault(lab, "latency", "posts", {"ms": 20}, CHAIN)
    (on,) = screen.until("faults")
    assert (on["half"], on["options"]) == (CHAIN, {"ms": 20.0})
    assert on["since_t"] > 0
    control_client.heal(lab)
    assert screen.until("faults") == []


def test_another_mix_holds_from_then_on(live: ConsoleThread, screen: EventStream) -> None:
    wanted = {"rate": 40, "mix": {"read_feed": 1}}
    live.post("/api/load", **wanted)
    screen.until("tick", lambda tick: tick.get("load") == wanted)
    reads_in_a_row = 0

    def only_reads_come(panes: Any) -> bool:
        nonlocal reads_in_a_row
        chain = panes[CHAIN]
        reads_in_a_row = 0 if chain["writes"]["sent"] else reads_in_a_row + chain["reads"]["sent"]
        return reads_in_a_row > 40

    screen.tick(only_reads_come)


def test_both_halves_get_the_same_number_of_requests(
    live: ConsoleThread, screen: EventStream
) -> None:
    stop_load_and_wait(live, screen)
    counts = {CHAIN: 0, BUS: 0}

    def add(panes: Any) -> bool:
        for name in counts:
            counts[name] += count_sent(panes[name])
        return min(counts.values()) > 40

    live.post("/api/load", rate=40)
    screen.tick(add)
    stop_load_and_wait(live, screen, add)
    assert counts[CHAIN] == counts[BUS]


def test_a_reset_begins_with_nothing_on_the_same_screen(
    live: ConsoleThread, screen: EventStream
) -> None:
    own = live.post("/api/post", half=CHAIN, title="Mine")["body"]["id"]
    live.request("POST", "/api/step", {})
    live.post("/api/fault", kind="down", target="posts")
    epoch = screen.until("hello")["epoch"]
    assert live.post("/api/reset")["epoch"] == epoch + 1
    hello = screen.until("hello")
    assert (hello["epoch"], hello["faults"], hello["script"]["at"]) == (epoch + 1, [], 0)
    assert screen.until("done")["kind"] == "reset"
    screen.until_healthy()
    assert own not in [post["id"] for post in live.blog(CHAIN, own)["feed"]]


def test_a_script_advances_step_by_step(live: ConsoleThread, screen: EventStream) -> None:
    live.post("/api/reset")
    hello = screen.until("hello", lambda hello: hello["script"]["at"] == 0)
    script = hello["script"]
    assert script["title"] == SCRIPT.title
    assert script["steps"][0] == {"says": SCRIPT.question, "does": "", "card": False}
    assert script["steps"][-1]["says"] == SCRIPT.explain
    for at, step in enumerate(script["steps"], 1):
        assert live.post("/api/step")["at"] == at
        assert screen.until("script", lambda script: script["at"])["at"] == at
        if step["does"].startswith("down"):
            target = step["does"].rpartition(": ")[2]
            screen.tick(lambda panes, t=target: panes[BUS]["nodes"][t]["up"] is False)
    assert live.request("POST", "/api/step", {})[0] == 409


@pytest.mark.slow
def test_other_arrangements_can_be_chosen_even_twice(
    live: ConsoleThread, screen: EventStream
) -> None:
    for left, right, names in (
        ("monolith", "monolith", ["monolith", "monolith-2"]),
        ("request-reply", "async-bus", ["request-reply", "async-bus"]),
        (CHAIN, BUS, [CHAIN, BUS]),
    ):
        live.post("/api/reset", left=left, right=right)
        screen.until("done", lambda done: done["kind"] == "reset")
        assert list(screen.until_healthy()) == names


def test_a_post_and_a_comment_reach_both_feeds(live: ConsoleThread, screen: EventStream) -> None:
    live.post("/api/load", rate=0)
    for half in (CHAIN, BUS):
        post = live.post("/api/post", half=half, title="<b>Mine</b> \u202e")
        assert post["status"] == 201
        own = post["body"]["id"]
        comment = {"half": half, "post_id": own, "content": "Nice"}
        # On the bus, `comments` consumes the post a moment later.
        screen.wait_for(lambda of=comment: live.post("/api/comment", **of)["status"] == 201)

        def with_a_comment(half: str = half, own: str = own) -> Any:
            feed = live.blog(half, own).get("feed")
            return feed and feed[0]["id"] == own and feed[0]["comments"] and feed[0]

        assert screen.wait_for(with_a_comment)["title"] == "<b>Mine</b> \u202e"
        refused = live.post("/api/post", half=half, title="")
        assert (refused["status"], refused["problem"]["field"]) == (400, "title")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/fault", {"kind": "fire", "target": "posts"}),
        ("/api/fault", {"kind": "down", "target": "nobody"}),
        ("/api/fault", {"kind": "down", "target": "posts", "half": "middle"}),
        ("/api/fault", {"kind": "latency", "target": "posts", "options": {}}),
        ("/api/heal", {"kind": "fire"}),
        ("/api/load", {"rate": -1}),
        ("/api/load", {"rate": 1e9}),
        ("/api/load", {"mix": {"read_feed": 0}}),
        ("/api/load", {"mix": {"delete_all": 1}}),
        ("/api/reset", {"engine": "kafka"}),
        ("/api/reset", {"left": "microlith"}),
        ("/api/step", {"at": 1}),
        ("/api/post", {"half": "middle", "title": "x"}),
    ],
)
def test_a_senseless_wish_is_refused_in_a_sentence(
    console: ConsoleThread, path: str, body: dict[str, Any]
) -> None:
    status, headers, response_body = console.request("POST", path, body)
    assert status == 400
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(response_body)["detail"]


def test_watchers_see_the_same_and_change_nothing(live: ConsoleThread) -> None:
    watcher = ConsoleClient(spectator_port())
    with watcher.stream() as screen:
        assert screen.until("hello")["role"] == "watcher"
        screen.until_healthy()
    assert watcher.get(f"/api/blog?half={BUS}")["status"] == 200
    watcher.cookie = live.cookie
    assert watcher.request("POST", "/api/fault", {"kind": "down", "target": "posts"})[0] == 404
    assert watcher.request("GET", f"/api/blog?half={BUS}&newest=1")[0] == 400


def test_a_process_that_ends_unasked_is_shown_and_healed(
    live: ConsoleThread, screen: EventStream
) -> None:
    (lab,) = find_running_labs()
    port = int(lab.stacks[BUS]["moderation"].rpartition(":")[2])
    (process,) = [
        child
        for child in psutil.Process().children(recursive=True)
        for connection in child.net_connections("tcp")
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
    ]
    process.kill()
    exited = screen.until("done")
    assert (exited["kind"], exited["half"]) == ("exit", BUS)
    screen.tick(lambda panes: panes[BUS]["nodes"]["moderation"]["up"] is False)
    live.post("/api/heal", target="moderation")
    screen.tick(lambda panes: panes[BUS]["nodes"]["moderation"]["up"] is True)
