"""The console with both stacks behind it: it draws traffic, breaks, heals, resets, and ends clean.

Nothing here waits for a time: what is waited for is a tick in which something is so.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.byhand import control
from lab.byhand.notes import running_labs
from lab.live.halves import TWO, halves
from lab.scenarios.catalogue import find
from tests.support.live_world import Asker, Console, a_console, all_of

CHAIN, BUS = (half.name for half in TWO)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Notes of labs that run elsewhere on this machine are none of ours, nor ours theirs."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_RUNTIME_DIR", str(home))
        yield home


@pytest.fixture(scope="module")
def console(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with a_console(tmp_path_factory.mktemp("live"), share_port=0) as one:
        yield one


@pytest.fixture
def live(console: Console) -> Iterator[Console]:
    yield console
    console.post("/api/heal")
    console.post("/api/load", rate=20, mix={"read_feed": 6, "create_post": 1, "create_comment": 3})


def is_well(half: Any) -> bool:
    return half["reads"]["ok"] > 0 and not half["reads"]["failed"]


def both_are_well(told: Any) -> bool:
    return all_of(TWO, is_well)(told)


def test_the_first_thing_a_screen_hears_is_what_to_draw(live: Console) -> None:
    with live.stream() as screen:
        hello = screen.until("hello")
    assert [half["name"] for half in hello["halves"]] == [CHAIN, BUS]
    assert [half["side"] for half in hello["halves"]] == ["ask", "tell"]
    assert ["query", "posts"] in hello["halves"][0]["edges"]
    assert ["event-bus", "query"] in hello["halves"][1]["edges"]
    assert hello["role"] == "presenter"
    assert hello["load"]["rate"] == 20
    assert hello["claims"]["one-down"]
    assert hello["script"] is None


def test_requests_and_events_are_drawn_along_the_edges(live: Console) -> None:
    drawn: dict[str, set[tuple[str, ...]]] = {CHAIN: set(), BUS: set()}

    def all_are_there(told: Any) -> bool:
        for name, half in told.items():
            drawn[name] |= {tuple(hop[:3]) for hop in half["hops"]}
            assert len(half["hops"]) <= 30
        return {("client", "query", "ask"), ("query", "posts", "ask")} <= drawn[CHAIN] and {
            ("client", "query", "ask"),
            ("comments", "event-bus", "tell"),
            ("event-bus", "query", "tell"),
        } <= drawn[BUS]

    with live.stream() as screen:
        screen.tick(all_are_there)
        hello_edges = {
            half.name: {tuple(edge) for edge in half.hello()["edges"]}
            for half in halves([CHAIN, BUS], None)
        }
    for name, hops in drawn.items():
        assert {hop[:2] for hop in hops if hop[0] != "client"} <= hello_edges[name]


def test_killing_comments_breaks_the_chains_reads_and_none_of_the_bus_until_it_is_healed(
    live: Console,
) -> None:
    with live.stream() as screen:
        screen.tick(both_are_well)
        deeds = live.post("/api/fault", kind="down", target="comments")["deeds"]
        assert [(deed["stack"], deed["state"]) for deed in deeds] == [(CHAIN, "on"), (BUS, "on")]
        assert screen.until("done")["kind"] == "fault"
        faults = screen.until("faults")
        assert [(one["half"], one["target"], one["kind"]) for one in faults] == [
            (CHAIN, "comments", "down"),
            (BUS, "comments", "down"),
        ]
        told = screen.tick(
            lambda told: told[CHAIN]["reads"]["failed"] > 0 and told[BUS]["reads"]["ok"] > 0
        )
        # Who was being answered when it was killed sees a 502; all who come later, a 503.
        assert told[CHAIN]["reads"]["errors"].keys() <= {"http_502", "http_503"}
        assert not told[BUS]["reads"]["failed"]
        assert [told[name]["nodes"]["comments"]["up"] for name in (CHAIN, BUS)] == [False, False]
        seen = screen.until("seen", lambda seen: seen["claim"] == "one-down")
        assert "comments" in seen["says"]
        live.post("/api/heal", target="comments")
        assert screen.until("faults", lambda on: on == []) == []
        screen.tick(both_are_well)


def test_a_service_that_hangs_fills_the_workers_of_who_asks_it(live: Console) -> None:
    with live.stream() as screen:
        live.post("/api/load", rate=60)
        live.post("/api/fault", kind="hang", target="comments", half=CHAIN)
        told = screen.tick(lambda told: told[CHAIN]["nodes"]["query"]["queue"] > 0)
        query = told[CHAIN]["nodes"]["query"]
        assert query["busy"] == query["workers"] == 8
        assert told[CHAIN]["nodes"]["comments"]["up"] == "hangs"
        assert told[BUS]["nodes"]["comments"]["up"] is True
        live.post("/api/heal")
        screen.tick(both_are_well)


def test_a_bus_that_is_down_fills_outboxes_and_the_feed_grows_old(live: Console) -> None:
    with live.stream() as screen:
        live.post("/api/fault", kind="down", target="event-bus")
        told = screen.tick(lambda told: told[BUS]["nodes"]["comments"]["untold"] > 3)
        assert told[BUS]["feed_age_ms"] > 0
        assert told[BUS]["unseen"] > 0
        live.post("/api/heal")
        screen.tick(lambda told: not told[BUS]["nodes"]["comments"]["untold"])
        screen.tick(lambda told: told[BUS]["unseen"] < 3)


def test_lab_fault_and_lab_heal_act_on_it_and_every_screen_says_so(live: Console) -> None:
    (lab,) = running_labs()
    with live.stream() as screen:
        control.put_fault(lab, "latency", "posts", {"ms": 20}, CHAIN)
        (on,) = screen.until("faults")
        assert (on["half"], on["options"]) == (CHAIN, {"ms": 20.0})
        assert on["since_t"] > 0
        control.heal(lab)
        assert screen.until("faults") == []


def test_another_rate_and_mix_hold_at_once(live: Console) -> None:
    with live.stream() as screen:
        live.post("/api/load", rate=40, mix={"read_feed": 1})
        load = screen.until("tick", lambda tick: tick.get("load"))["load"]
        assert load == {"rate": 40, "mix": {"read_feed": 1}}
        screen.tick(lambda told: True)  # In this one somebody of before may still be counted.
        sent = {"reads": 0, "writes": 0}

        def count(told: Any) -> bool:
            for name in sent:
                sent[name] += told[CHAIN][name]["sent"]
            return sent["reads"] > 10

        screen.tick(count)
        assert sent["writes"] == 0
        live.post("/api/load", rate=0)
        screen.tick(all_of(TWO, lambda half: not half["reads"]["sent"] and not half["waiting"]))


def test_both_halves_are_sent_the_same_schedule(live: Console) -> None:
    sent = {CHAIN: 0, BUS: 0}

    def count(told: Any) -> bool:
        for name in sent:
            sent[name] += told[name]["reads"]["sent"] + told[name]["writes"]["sent"]
        return min(sent.values()) > 40

    with live.stream() as screen:
        screen.tick(count)
    # One mean gap lies between their copies, so at any moment one may be ahead.
    assert abs(sent[CHAIN] - sent[BUS]) <= 5


def test_a_reset_begins_with_nothing_and_the_same_screen_goes_on(live: Console) -> None:
    own = live.post("/api/post", half=CHAIN, title="Mine")["body"]["id"]
    live.post("/api/fault", kind="down", target="posts")
    with live.stream() as screen:
        epoch = screen.until("hello")["epoch"]
        assert live.post("/api/reset")["epoch"] == epoch + 1
        hello = screen.until("hello")
        assert (hello["epoch"], hello["faults"]) == (epoch + 1, [])
        assert screen.until("done")["kind"] == "reset"
        screen.tick(both_are_well)
    feed = live.get(f"/api/blog?half={CHAIN}&newest={own}")["feed"]
    assert own not in [post["id"] for post in feed]


def test_other_arrangements_can_be_chosen_also_the_same_twice(live: Console) -> None:
    with live.stream() as screen:
        for left, right, names in (
            ("monolith", "monolith", ["monolith", "monolith-2"]),
            ("request-reply", "async-bus", ["request-reply", "async-bus"]),
            (CHAIN, BUS, [CHAIN, BUS]),
        ):
            live.post("/api/reset", left=left, right=right)
            told = screen.tick(lambda told: all(map(is_well, told.values())))
            assert list(told) == names
    status, _, body = live.ask("POST", "/api/reset", {"left": "microlith"})
    assert (status, json.loads(body)["field"]) == (400, "arrangement")


def test_a_post_and_a_comment_are_written_as_a_reader_would(live: Console) -> None:
    for half in (CHAIN, BUS):
        post = live.post("/api/post", half=half, title="<b>Mine</b> \u202e")
        assert post["status"] == 201
        own = post["body"]["id"]
        with live.stream() as screen:
            # On the bus comments hears of the post a moment later.
            while (
                live.post("/api/comment", half=half, post_id=own, content="Nice")["status"] == 404
            ):
                screen.until("tick")
            while True:
                feed = live.get(f"/api/blog?half={half}&newest={own}")["feed"]
                entry = feed[0] if feed else {}
                if entry.get("id") == own and entry["comments"]:
                    break
                screen.until("tick")
        assert entry["title"] == "<b>Mine</b> \u202e"
        refused = live.post("/api/post", half=half, title="")
        assert (refused["status"], refused["problem"]["field"]) == (400, "title")


def test_under_an_outage_one_half_shows_an_error_page_and_the_other_a_feed(live: Console) -> None:
    live.post("/api/fault", kind="down", target="comments")
    with live.stream() as screen:
        screen.tick(lambda told: told[CHAIN]["reads"]["failed"] > 0)
    chain, bus = (live.get(f"/api/blog?half={half}") for half in (CHAIN, BUS))
    assert (chain["status"], chain["problem"]["status"]) == (503, 503)
    assert bus["status"] == 200
    assert live.post("/api/comment", half=BUS, post_id="x", content="y") == {
        "status": 0,
        "error": "refused",
    }


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
        ("/api/step", {}),
        ("/api/post", {"half": "middle", "title": "x"}),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_in_a_sentence(
    console: Console, path: str, body: dict[str, Any]
) -> None:
    status, headers, told = console.ask("POST", path, body)
    assert status == 400
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(told)["detail"]


def test_lookers_on_see_the_same_and_can_do_nothing(live: Console) -> None:
    shared = next(line for line in live.said if line.strip().endswith("/") and "http" in line)
    looker = Asker(int(shared.strip().rstrip("/").rpartition(":")[2]))
    with looker.stream() as screen:
        assert screen.until("hello")["role"] == "watcher"
        screen.tick(both_are_well)
    assert looker.get(f"/api/blog?half={BUS}")["status"] == 200
    looker.cookie = live.cookie
    assert looker.ask("POST", "/api/fault", {"kind": "down", "target": "posts"})[0] == 404
    assert looker.ask("GET", f"/api/blog?half={BUS}&newest=1")[0] == 400


def test_who_comes_late_gets_the_last_minute(live: Console) -> None:
    with live.stream() as screen:
        screen.tick(both_are_well)
    with live.stream() as screen:
        hello = screen.until("hello")
        tick = screen.until("tick")
    assert hello["history"]
    times = [one["t"] for one in [*hello["history"], tick]]
    assert times == sorted(times)
    assert all(half["hops"] == [] for one in hello["history"] for half in one["halves"].values())


def test_a_process_that_ends_by_itself_is_told_of_and_can_be_healed(live: Console) -> None:
    (lab,) = running_labs()
    port = int(lab.stacks[BUS]["moderation"].rpartition(":")[2])
    (process,) = [
        one
        for one in psutil.Process().children(recursive=True)
        for of in one.net_connections("tcp")
        if of.laddr.port == port and of.status == psutil.CONN_LISTEN
    ]
    with live.stream() as screen:
        process.kill()
        exited = screen.until("done")
        assert (exited["kind"], exited["half"]) == ("exit", BUS)
        screen.tick(lambda told: told[BUS]["nodes"]["moderation"]["up"] is False)
        live.post("/api/heal", target="moderation")
        screen.tick(lambda told: told[BUS]["nodes"]["moderation"]["up"] is True)


def test_a_script_is_gone_through_step_by_step(home: Path, tmp_path: Path) -> None:
    scenario = find("downed-service")
    with a_console(tmp_path, script=scenario) as live, live.stream() as screen:
        script = screen.until("hello")["script"]
        assert (script["title"], script["at"]) == (scenario.title, 0)
        assert script["steps"][0] == {"says": scenario.question, "does": ""}
        assert script["steps"][-1]["says"] == scenario.explain
        for at, step in enumerate(script["steps"], 1):
            assert live.post("/api/step")["at"] == at
            assert screen.until("script")["at"] == at
            if step["does"].startswith("down"):
                target = step["does"].rpartition(": ")[2]
                screen.tick(lambda told, t=target: told[BUS]["nodes"][t]["up"] is False)
        assert live.ask("POST", "/api/step", {})[0] == 409
        assert live.post("/api/reset")
        assert screen.until("script")["at"] == 0
