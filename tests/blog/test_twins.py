"""The two folders can be read side by side, and the head of each file is true."""

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

LAB = Path(__file__).parents[2] / "lab"
SIDES = ("sync_chain", "async_bus")
SERVICES = ("posts", "comments", "moderation", "query")
BANNER = r"^# ── (.+?) ─+$"
BANNERS = ["What a client may ask of us", "How we learn what others know"]
TRANSPORT_FILES = {
    "sync_chain": {
        "monolith.py",
    },
    "async_bus": {"outbox.py", "dual_write.py", "consumer.py", "inbox.py", "dead_letters.py"},
}
FILES = [(side, name) for side in SIDES for name in SERVICES]


def source(side: str, name: str) -> str:
    return (LAB / side / f"{name}.py").read_text(encoding="utf-8")


def tree(side: str, name: str) -> ast.Module:
    return ast.parse(source(side, name))


def service(side: str, name: str) -> Any:
    return import_module(f"lab.{side}.{name}").service


def map_banners(side: str, name: str) -> dict[str, str]:
    """The functions of a file, each with the banner that it is under."""
    return {
        node.name: re.findall(BANNER, source(side, name).partition(f"\ndef {node.name}(")[0], re.M)[
            -1
        ]
        for node in tree(side, name).body
        if isinstance(node, ast.FunctionDef)
    }


def parse_head(side: str, name: str) -> dict[str, set[str]]:
    """The lines `Calls:`, `Publishes:`, `Consumes:` of a file's docstring, and the names in each:
    `posts (is there one?), moderation` → both."""
    docstring = ast.get_docstring(tree(side, name)) or ""
    lines = re.findall(r"^([A-Z][a-z]+):(.*)", docstring.partition("\n")[2], re.M)
    return {
        label: set(re.split(r"\s*,\s*", re.sub(r"\(.*?\)", "", names.partition(";")[0]).strip()))
        - {"nobody", "nothing"}
        for label, names in lines
    }


def find_calls(side: str, name: str, method: str) -> list[ast.Call]:
    nodes = [node for node in ast.walk(tree(side, name)) if isinstance(node, ast.Call)]
    return [
        node for node in nodes if isinstance(node.func, ast.Attribute) and node.func.attr == method
    ]


def find_interactions(side: str, name: str) -> dict[str, set[str]]:
    """What the code calls, publishes and consumes, under the names of these lines."""
    called = [ast.literal_eval(call.args[0]) for call in find_calls(side, name, "ask")]
    published = [ast.unparse(call.args[0]) for call in find_calls(side, name, "tell")]
    consumed = [ast.unparse(kind) for call in find_calls(side, name, "on") for kind in call.args]
    return {
        "Calls": set(called),
        "Publishes": {event.partition("(")[0] for event in published if "(" in event},
        "Consumes": set(consumed),
    }


def test_the_twins_have_the_same_files_except_for_transport() -> None:
    files = {side: {path.name for path in (LAB / side).glob("*.py")} for side in SIDES}
    shared = {f"{name}.py" for name in (*SERVICES, "hop", "stack", "__init__")}
    assert {side: files[side] - TRANSPORT_FILES[side] for side in SIDES} == dict.fromkeys(
        SIDES, shared
    )


@pytest.mark.parametrize("name", SERVICES)
def test_the_twins_have_the_same_functions_in_the_same_order(name: str) -> None:
    chain, bus = (map_banners(side, name) for side in SIDES)
    assert chain
    assert sorted(chain) == sorted(bus)
    # A function called by a client on one side and by an event on the other is under another banner
    # there; apart from those, the order is the same.
    moved = {of for of in chain if chain[of] != bus[of]}
    assert [of for of in chain if of not in moved] == [of for of in bus if of not in moved]
    assert moved == ({"judge"} if name == "moderation" else set())


@pytest.mark.parametrize(("side", "name"), FILES)
def test_each_head_says_what_the_code_asks_tells_and_hears(side: str, name: str) -> None:
    first = (ast.get_docstring(tree(side, name)) or "").splitlines()[0]
    assert re.match(rf"{name.capitalize()}: owns ", first)
    assert list(parse_head(side, name)) == ["Calls", "Publishes", "Consumes"]
    assert parse_head(side, name) == find_interactions(side, name)


@pytest.mark.parametrize(("side", "name"), FILES)
def test_asking_and_hearing_are_under_the_second_of_two_banners(side: str, name: str) -> None:
    text = source(side, name)
    assert re.findall(BANNER, text, re.M) == BANNERS
    second = text[: text.index(BANNERS[1])].count("\n") + 1
    learning = [*find_calls(side, name, "ask"), *find_calls(side, name, "on")]
    assert all(call.lineno > second for call in learning)


def test_one_twin_only_asks_the_other_tells_and_hears() -> None:
    sides = {side: [find_interactions(side, name).values() for name in SERVICES] for side in SIDES}
    chain, bus = (set().union(*(kind for one in sides[side] for kind in one)) for side in SIDES)
    assert chain == {"posts", "comments", "moderation"}
    assert bus == {"PostCreated", "CommentCreated", "CommentModerated", "CommentUpdated"}


@pytest.mark.parametrize("name", SERVICES)
def test_the_twins_offer_clients_the_same_routes(name: str) -> None:
    chain, bus = ([(of.method, of.path) for of in service(side, name).routes] for side in SIDES)
    if name == "moderation":  # callers need an answer; publishers do not wait
        assert bus == [("GET", "/verdicts")]
        assert chain == [("POST", "/verdicts"), *bus]
    else:
        assert chain == bus != []
