"""`GET /metrics`: the text format of Prometheus, and figures that agree with what was sent."""

import json
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.domain.services import BY_HAND_PORTS
from lab.load import metrics_page
from lab.load.sender import SendCounts
from lab.service.metrics import render
from lab.support.exposition import CONTENT_TYPE, Histogram, RequestCounters
from tests.support.exposition import Series, of, parse
from tests.support.laboratory import RunningBlog, eventually
from tests.support.small import ROOT

GRAFANA = ROOT / "docs" / "grafana"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/posts", '/a"b\\c\nd']),
            st.sampled_from([200, 503]),
            st.floats(0, 100),
        ),
        max_size=40,
    )
)
def test_any_requests_make_a_page_that_prometheus_reads(observed: list[Any]) -> None:
    requests_seen = RequestCounters()
    for route, status, seconds in observed:
        requests_seen.observe("GET", route, status, seconds)
    faults = [("a", "latency", "posts"), ('"\\\n', "error", "posts")]
    found = parse(render(requests_seen, {}, faults, ready=True))
    assert of(found, "lab_requests_total") == len(observed)
    assert of(found, "lab_requests_total", status="503") == sum(one[1] == 503 for one in observed)
    assert of(found, "lab_request_seconds_sum") == pytest.approx(sum(one[2] for one in observed))
    assert of(found, "lab_fault_active") == 2


def test_large_offsets_keep_their_digits() -> None:
    found = parse(render(RequestCounters(), {"offset": 12_345_678_901}, [], ready=False))
    assert of(found, "lab_consumer_offset") == 12_345_678_901
    assert of(found, "lab_ready") == 0


def test_what_is_not_known_has_no_line() -> None:
    page = render(RequestCounters(), {"offset": None, "stuck": None}, [], ready=True)
    assert "lab_consumer_offset" not in page
    assert "lab_consumer_stuck 0" in page


def test_a_breaker_is_in_one_state() -> None:
    state = {"breakers": {"posts": "half-open"}}
    found = parse(render(RequestCounters(), state, [], ready=True))
    assert of(found, "lab_breaker_state", callee="posts") == 1
    assert of(found, "lab_breaker_state", state="half-open") == 1


# ── A running blog


def scraped(blog: RunningBlog, target: str) -> Series:
    response = requests.get(f"{blog.stack.urls[target]}/metrics", timeout=30)
    assert response.headers["Content-Type"] == CONTENT_TYPE
    return parse(response.text)


def test_each_service_counts_what_it_answered(blog: RunningBlog) -> None:
    before = scraped(blog, "posts")
    post = blog.write_post()
    blog.ask("GET", "posts", f"/posts/{post['id']}")
    blog.ask("GET", "posts", "/posts/unknown")
    blog.ask("POST", "posts", "/posts", json={})
    after = scraped(blog, "posts")

    def more(**labels: str) -> float:
        name = "lab_requests_total"
        return of(after, name, **labels) - of(before, name, **labels)

    assert more(method="POST", route="/posts", status="201") == 1
    assert more(method="POST", status="422") + more(method="POST", status="400") == 1
    assert more(method="GET", route="/posts/{post_id}", status="404") == 1
    assert more(route="/metrics") == 0
    assert of(after, "lab_ready") == 1


def test_a_fault_shows_as_long_as_it_acts(blog: RunningBlog) -> None:
    assert of(scraped(blog, "posts"), "lab_fault_active") == 0
    with blog.broken("latency", "posts", ms=5):
        found = scraped(blog, "posts")
        assert of(found, "lab_fault_active", kind="latency", target="posts") == 1
    assert of(scraped(blog, "posts"), "lab_fault_active") == 0


def test_the_lag_of_a_consumer_is_the_bus_minus_its_offset(bus_blog: RunningBlog) -> None:
    bus_blog.write_post()
    bus_blog.settle()

    def lag() -> float:
        newest = of(scraped(bus_blog, "event-bus"), "lab_bus_offset")
        return newest - of(scraped(bus_blog, "query"), "lab_consumer_offset")

    eventually(lambda: lag() == 0, "query to have read the bus")
    found = scraped(bus_blog, "posts")
    assert of(found, "lab_outbox_events") == 0
    assert of(scraped(bus_blog, "event-bus"), "lab_bus_offset") >= 1


# ── The dashboard


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text("utf-8"))
    return document


def expressions(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "expr":
                yield value
            yield from expressions(value)
    elif isinstance(part, list):
        for value in part:
            yield from expressions(value)


def test_the_dashboard_asks_only_for_metrics_that_exist() -> None:
    state = {
        **dict.fromkeys(("under_way", "workers", "given_up", "untold", "offset", "head"), 1),
        **dict.fromkeys(("applied", "passed_over", "dead"), 1),
        "stuck": None,
        "asks": {"posts": {"asked": 1}},
        "breakers": {"posts": "open"},
    }
    seen = RequestCounters()
    seen.observe("GET", "/feed", 200, 0.01)
    load = SimpleNamespace(
        variant=SimpleNamespace(name="async-bus"),
        requests=seen,
        lateness=Histogram(),
        counts=SendCounts(),
        probe=SimpleNamespace(pending=0),
    )
    pages = render(seen, state, [("a", "down", "posts")], ready=True), metrics_page.render([load])
    known = {name for page in pages for name, _ in parse(page)}
    asked = [name for expr in expressions(dashboard()) for name in re.findall(r"lab_\w+", expr)]
    assert len(asked) >= 8
    assert set(asked) <= known
    annotations = dashboard()["annotations"]["list"]
    assert any("lab_fault_active" in one.get("expr", "") for one in annotations)


def test_the_dashboard_has_panels_that_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_prometheus_finds_every_process_of_a_lab_by_hand() -> None:
    document = yaml.safe_load((GRAFANA / "prometheus.yml").read_text("utf-8"))
    job, load = document["scrape_configs"]
    assert load["static_configs"][0]["targets"] == ["127.0.0.1:4400"]
    listed = {
        (group["labels"]["arrangement"], group["labels"]["service"], group["targets"][0])
        for group in job["static_configs"]
    }
    assert listed == {
        (arrangement, service, f"127.0.0.1:{port}")
        for arrangement, ports in BY_HAND_PORTS.items()
        for service, port in ports.items()
    }
