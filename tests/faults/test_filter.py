"""What can be put on a door, what can not, and what comes off it again."""

from typing import Any

import pytest

from lab.faults.door import Door
from lab.faults.kinds import parse_fault
from lab.web import TOKEN_HEADER
from tests.support.laboratory import Blog


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("latencey", {}, "Did you mean 'latency'"),
        ("fire", {}, "Known: down, hang"),
        ("latency", {}, "needs 'ms'"),
        ("latency", {"ms": -1}, "ms = -1"),
        ("latency", {"ms": "soon"}, "ms = 'soon'"),
        ("latency", {"ms": 1, "jitter": 5}, "Did you mean 'jitter_ms'"),
        ("error", {"status": 200}, "status = 200"),
        ("error", {"probability": 1.5}, "probability = 1.5"),
        ("error", {"first": 0}, "first = 0"),
        ("down", {"probability": 0.5}, "takes no options"),
        ("hang", {"first": 1}, "takes no options"),
        ("down", {}, "not at its door"),
        ("hang", {}, "not at its door"),
    ],
)
def test_what_can_not_hang_on_a_door_is_refused_with_what_was_meant(
    blog: Blog, kind: str, options: dict[str, Any], says: str
) -> None:
    response = blog.ask(
        "PUT",
        "posts",
        "/_lab/faults/x",
        json={"kind": kind, "target": "posts", "options": options},
        headers={TOKEN_HEADER: blog.stack.token},
    )
    assert response.status_code == 400
    assert says in response.json()["detail"]
    hanging = blog.ask("GET", "posts", "/_lab/faults", headers={TOKEN_HEADER: blog.stack.token})
    assert hanging.json() == {}
    assert blog.ask("GET", "posts", "/posts").ok


async def test_a_fault_put_on_again_lets_go_of_whom_the_first_one_held() -> None:
    door = Door()
    door.put("x", parse_fault("timeout", "posts", {}), seed=1)
    visit = door.visit()
    assert visit.unanswered
    hanging = door._hanging["x"]
    door.put("x", parse_fault("error", "posts", {"status": 500}), seed=1)
    assert hanging.ended.is_set()
    assert door.visit().status == 500
    assert door.take("x") == {"visitors": 1, "acted": 1}
    assert door.take("x") is None
    assert door.visit().because_of == []
