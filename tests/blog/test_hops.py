"""More than four services: requests and events through the hops, and the dependencies."""

import ast
import json
from pathlib import Path

import pytest

from lab.cluster.arrangements import hops_of, ignored_sources, next_hop
from lab.domain.services import HOPS, by_hand_port, by_hand_url
from lab.results.dependencies import OF_NEEDS, read_dependencies
from lab.results.paths import ExpressionError, check_figure_path
from lab.results.result import VariantResult
from lab.scenarios.scenario import Scenario, ScenarioError
from lab.scenarios.spec import MethodSpec
from lab.scenarios.switches import expand_targets
from tests.blog.conftest import BlogWith
from tests.support.laboratory import RunningBlog, eventually

LAB = Path(__file__).parents[2] / "lab"
THREE = HOPS[:3]
SCENARIO = """
title = "Hops"
[[method]]
fault = "error"
target = "{target}"
probability = 0.5
[variants.patient]
arrangement = "{arrangement}"
{switches}
"""


def scenario(tmp_path: Path, target: str, arrangement: str, switches: str) -> Scenario:
    path = tmp_path / "hops.toml"
    path.write_text(SCENARIO.format(target=target, arrangement=arrangement, switches=switches))
    return Scenario.load_file(path)


def read_approved_comments(blog: RunningBlog, post_id: str) -> list[str]:
    """The decided comments of a post in the feed."""
    comments = (blog.feed_entry(post_id) or {"comments": []})["comments"]
    return [one["content"] for one in comments if one["status"] == "approved"]


# ── Consumers and callees


def test_each_hop_asks_the_next_and_the_last_asks_comments() -> None:
    asked = [next_hop("comments", asker, THREE) for asker in ("query", *THREE)]
    assert asked == ["hop-1", "hop-2", "hop-3", "comments"]
    assert next_hop("posts", "query", THREE) == "posts"
    assert next_hop("comments", "moderation", THREE) == "comments"
    assert next_hop("comments", "query", ()) == "comments"


def test_each_service_hears_of_comments_from_exactly_one() -> None:
    tellers = {
        **{"query": "hop-1", "hop-1": "hop-2", "hop-2": "hop-3", "hop-3": "comments"},
        **{"moderation": "comments", "comments": "comments"},
    }
    for hearer, teller in tellers.items():
        assert {"comments", *THREE} - set(ignored_sources(hearer, THREE)) == {teller}
        assert ignored_sources(hearer, ()) == ()


def test_a_width_needs_one_hop_a_depth_that_many() -> None:
    assert (hops_of({}), hops_of({"width": 20}), hops_of({"depth": 2})) == ((), HOPS[:1], HOPS[:2])


def test_each_hop_started_by_hand_has_its_own_port() -> None:
    ports = [by_hand_port(side, hop) for side in ("sync-chain", "async-bus") for hop in HOPS]
    assert len(set(ports)) == 2 * len(HOPS)
    assert by_hand_url("async-bus", "hop-1") == "http://127.0.0.1:4011"


# ── Requests and events through the hops


@pytest.mark.parametrize("arrangement", ["sync-chain", "async-bus"])
def test_only_the_chain_needs_each_hop_for_a_feed(blog_with: BlogWith, arrangement: str) -> None:
    with blog_with(arrangement, depth=3) as blog:
        post = blog.write_post()
        for number in range(3):
            blog.write_comment(post["id"], f"number {number}")
        blog.settle()
        assert read_approved_comments(blog, post["id"]) == ["number 0", "number 1", "number 2"]
        judged = blog.get("moderation", "/verdicts")
        assert [one["content"] for one in judged] == ["number 0", "number 1", "number 2"]
        needs_each = 502 if arrangement == "sync-chain" else 200
        for hop in THREE:
            with blog.broken("error", hop):
                assert blog.ask("GET", "query", "/feed").status_code == needs_each
        assert blog.ask("GET", "query", "/feed").status_code == 200


def test_a_dead_hop_on_the_bus_delays_comments_only(blog_with: BlogWith) -> None:
    with blog_with("async-bus", depth=2) as blog:
        post = blog.write_post()
        blog.kill("hop-2")
        blog.write_comment(post["id"], "meanwhile")
        assert blog.ask("GET", "query", "/feed").status_code == 200
        owner = f"/posts/{post['id']}/comments"
        eventually(lambda: blog.get("comments", owner)[0]["status"] == "approved", "the verdict")
        assert read_approved_comments(blog, post["id"]) == []
        blog.restart("hop-2")
        blog.settle()
        assert read_approved_comments(blog, post["id"]) == ["meanwhile"]


def test_a_wide_feed_is_many_questions_and_needs_each(blog_with: BlogWith) -> None:
    with blog_with("sync-chain", width=7) as blog:
        posts = [blog.write_post(f"post {number}") for number in range(9)]
        for post in posts:
            blog.write_comment(post["id"], f"about {post['title']}")
        with blog.broken("latency", "hop-1", ms=0) as injection:
            entries = blog.get("query", "/feed")
        assert injection.evidence["visitors"] == 7
        assert [[one["content"] for one in entry["comments"]] for entry in entries] == [
            [f"about post {number}"] for number in range(8, -1, -1)
        ]
        with blog.broken("error", "hop-1", first=1):
            assert blog.ask("GET", "query", "/feed").status_code == 502
            assert blog.ask("GET", "query", "/feed").status_code == 200


def test_in_a_web_each_hop_asks_all_hops_behind_it(blog_with: BlogWith) -> None:
    protected = {"breaker": True, "bulkhead": True, "retries": 1}
    with blog_with("sync-chain", depth=3, web=True, **protected) as blog:
        blog.write_post()
        blog.get("query", "/feed")
        asked = {hop: set(blog.state(hop)["asks"]) for hop in THREE}
    assert asked == {
        "hop-1": {"hop-2", "hop-3", "comments"},
        "hop-2": {"hop-3", "comments"},
        "hop-3": {"comments"},
    }


# ── Scenario options


def test_a_fault_on_hops_acts_on_each_of_them(tmp_path: Path) -> None:
    read = scenario(tmp_path, "hops", "sync-chain", "depth = 3")
    faults = read.timeline().faults
    assert [(one.fault.target, one.group) for one in faults] == [(hop, "hops") for hop in THREE]
    method = MethodSpec(fault="down", target="posts")
    assert expand_targets(method) == [method]


@pytest.mark.parametrize(
    ("target", "arrangement", "switches", "says"),
    [
        ("hops", "sync-chain", "", "with depth = 1 it has"),
        ("hop-3", "async-bus", "depth = 2", "with depth = 3 it has"),
        ("posts", "async-bus", 'depth = 2\nbus = "course"', "does not name its publisher"),
        ("posts", "sync-chain", "depth = 9", "a whole number, 1 to 8"),
        ("posts", "sync-chain", "web = true", "Add depth = 2"),
        ("posts", "async-bus", "width = 9", "has no switch 'width'"),
        ("posts", "monolith", "depth = 1", "has no switch 'depth'"),
    ],
)
def test_settings_of_hops_that_make_no_sense_are_refused(
    tmp_path: Path, target: str, arrangement: str, switches: str, says: str
) -> None:
    with pytest.raises(ScenarioError) as raised:
        scenario(tmp_path, target, arrangement, switches)
    assert says in " ".join(str(raised.value).split())


# ── Observed dependencies


def spans(folder: Path, *lines: tuple[str, str, str, str]) -> VariantResult:
    """A variant with these spans: (service, kind, span, parent). Each span is about one event."""
    keys = ("service", "kind", "span", "parent")
    records = [dict(zip(keys, line, strict=True)) | {"name": "PostCreated"} for line in lines]
    text = "".join(f"{json.dumps(record)}\n" for record in records)
    (folder / "one.all.spans.ndjson").write_text(text + '{"service": "half')
    return VariantResult(name="one", arrangement="sync-chain", **read_dependencies(folder, "one"))


ROW = [(name, "server", name, before) for name, before in (("a", ""), ("b", "a"), ("c", "b"))]
TOLD = [(name, "consumer", name, "teller") for name in ("b", "c")]
LOOP = [("a", "server", "1", ""), ("b", "server", "2", "1"), ("a", "server", "3", "2")]


@pytest.mark.parametrize(
    ("lines", "services", "edges", "hanging", "subscriptions"),
    [
        ([*ROW, ("b", "server", "again", "a")], 3, 2, 3, 0),
        ([("a", "server", "teller", ""), *TOLD, ("b", "consumer", "again", "teller")], 3, 3, 0, 2),
        (LOOP, 2, 2, 2, 0),
    ],
    ids=["asked in a row", "told", "asking each other"],
)
def test_services_hang_on_all_that_are_asked_for_them(
    tmp_path: Path,
    lines: list[tuple[str, str, str, str]],
    services: int,
    edges: int,
    hanging: int,
    subscriptions: int,
) -> None:
    seen = spans(tmp_path, *lines)
    assert {name: of(seen) for name, of in OF_NEEDS.items()} == {
        "services": services,
        "edges": edges,
        "hanging": hanging,
        "subscriptions": subscriptions,
        "dependencies": subscriptions or edges,
    }


def test_an_unknown_figure_of_the_web_is_refused_with_a_hint() -> None:
    check_figure_path("one.web.edges", ["one"], ["during"], False)
    with pytest.raises(ExpressionError, match="Did you mean 'edges'"):
        check_figure_path("one.web.edge", ["one"], ["during"], False)


# ── The twins


def test_one_hop_only_asks_its_twin_hears_and_tells() -> None:
    calls = {}
    for side in ("sync_chain", "async_bus"):
        text = (LAB / side / "hop.py").read_text()
        assert max(map(len, text.splitlines())) <= 78
        nodes = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        calls[side] = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert "ask" in calls["sync_chain"]
    assert not {"on", "tell"} & calls["sync_chain"]
    assert {"on", "tell"} < calls["async_bus"]
    assert "ask" not in calls["async_bus"]
