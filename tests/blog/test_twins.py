"""The two folders can be read side by side, and the head of each file tells the truth."""

import ast
import re
from pathlib import Path

import pytest

LAB = Path(__file__).parents[2] / "lab"
SIDES = ("sync_chain", "async_bus")
SERVICES = ("posts", "comments", "moderation", "query")
BANNER = r"^# ── (.+?) ─+$"
BANNERS = ["What a client may ask of us", "How we learn what others know"]
HOW_NEWS_TRAVELS = {
    "sync_chain": {
        "ask.py",
        "ask_by_call.py",
        "ask_by_events.py",
        "ask_side_by_side.py",
        "monolith.py",
    },
    "async_bus": {"tell.py", "hear.py", "apply.py", "dead_letters.py", "alarms.py"},
}
FILES = [(side, name) for side in SIDES for name in SERVICES]


def source(side: str, name: str) -> str:
    return (LAB / side / f"{name}.py").read_text(encoding="utf-8")


def tree(side: str, name: str) -> ast.Module:
    return ast.parse(source(side, name))


def functions(side: str, name: str) -> list[str]:
    return [node.name for node in tree(side, name).body if isinstance(node, ast.FunctionDef)]


def under(name: str, side: str, function: str) -> str:
    """The banner under which a function is."""
    above = source(side, name).partition(f"\ndef {function}(")[0]
    return re.findall(BANNER, above, re.MULTILINE)[-1]


def banners(side: str, name: str) -> list[str]:
    return re.findall(BANNER, source(side, name), re.MULTILINE)


def head(side: str, name: str) -> dict[str, str]:
    """The lines `Asks:`, `Tells:`, `Hears:` of a file's docstring, in their order."""
    lines = (ast.get_docstring(tree(side, name)) or "").splitlines()
    return {
        label: rest.strip()
        for label, colon, rest in (line.partition(":") for line in lines[1:])
        if colon and re.fullmatch(r"[A-Z][a-z]+", label)
    }


def named(told: str) -> set[str]:
    """Whom or what a line of the head names: `posts (is there one?), moderation` → both."""
    words = re.sub(r"\(.*?\)", "", told.partition(";")[0]).split(",")
    return {word.strip() for word in words} - {"nobody", "nothing"}


def calls(side: str, name: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree(side, name)) if isinstance(node, ast.Call)]


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def asks(side: str, name: str) -> set[str]:
    whom = [call.args[0] for call in calls(side, name) if called(call) == "ask"]
    assert all(isinstance(each, ast.Constant) for each in whom)
    return {ast.literal_eval(each) for each in whom}


def tells(side: str, name: str) -> set[str]:
    events = [call.args[0] for call in calls(side, name) if called(call) == "tell"]
    return {ast.unparse(event.func) for event in events if isinstance(event, ast.Call)}


def hears(side: str, name: str) -> set[str]:
    return {
        ast.unparse(kind)
        for node in ast.walk(tree(side, name))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and called(decorator) == "on"
        for kind in decorator.args
    }


def test_the_twins_have_the_same_files_except_for_transport() -> None:
    files = {side: {path.name for path in (LAB / side).glob("*.py")} for side in SIDES}
    shared = {f"{name}.py" for name in (*SERVICES, "hop", "stack", "__init__")}
    assert {side: files[side] - HOW_NEWS_TRAVELS[side] for side in SIDES} == dict.fromkeys(
        SIDES, shared
    )


@pytest.mark.parametrize("name", SERVICES)
def test_the_twins_have_the_same_functions_in_the_same_order(name: str) -> None:
    names = functions("sync_chain", name)
    assert names
    assert sorted(names) == sorted(functions("async_bus", name))
    # A function that a client calls on one side and an event on the other stands under another
    # banner there; but for those, the order is the same.
    moved = {of for of in names if under(name, "sync_chain", of) != under(name, "async_bus", of)}
    kept = [of for of in names if of not in moved]
    assert kept == [of for of in functions("async_bus", name) if of not in moved]
    assert moved == ({"judge"} if name == "moderation" else set())


@pytest.mark.parametrize(("side", "name"), FILES)
def test_each_head_says_what_the_code_asks_tells_and_hears(side: str, name: str) -> None:
    first = (ast.get_docstring(tree(side, name)) or "").splitlines()[0]
    assert re.match(rf"{name.capitalize()}: owns ", first)
    assert list(head(side, name)) == ["Asks", "Tells", "Hears"]
    said = {label: named(told) for label, told in head(side, name).items()}
    done = {"Asks": asks(side, name), "Tells": tells(side, name), "Hears": hears(side, name)}
    assert said == done


@pytest.mark.parametrize(("side", "name"), FILES)
def test_asking_and_hearing_are_under_the_second_of_two_banners(side: str, name: str) -> None:
    assert banners(side, name) == BANNERS
    text = source(side, name)
    second = text[: text.index(BANNERS[1])].count("\n") + 1
    lines = [call.lineno for call in calls(side, name) if called(call) in ("ask", "on")]
    assert all(line > second for line in lines)


def test_one_twin_only_asks_the_other_tells_and_hears() -> None:
    done = {side: [(f(side, n)) for n in SERVICES for f in (asks, tells, hears)] for side in SIDES}
    assert set().union(*done["sync_chain"]) == {"posts", "comments", "moderation"}
    assert set().union(*done["async_bus"]) == {
        "PostCreated",
        "CommentCreated",
        "CommentModerated",
        "CommentUpdated",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_the_twins_offer_clients_the_same_routes(name: str) -> None:
    def routes(side: str) -> list[tuple[str, str]]:
        return [
            (called(decorator), ast.literal_eval(decorator.args[0]))
            for node in tree(side, name).body
            if isinstance(node, ast.FunctionDef)
            for decorator in node.decorator_list
            if isinstance(decorator, ast.Call) and called(decorator) in ("get", "post")
        ]

    if name == "moderation":  # askers must be answered; tellers do not wait
        assert routes("async_bus") == [("get", "/verdicts")]
        assert routes("sync_chain") == [("post", "/verdicts"), *routes("async_bus")]
    else:
        assert routes("sync_chain") == routes("async_bus") != []
