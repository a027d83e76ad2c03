"""The page, the terminal and the table of fault kinds agree on the faults that a key adds."""

import re
from typing import Any, cast

from lab.faults.kinds import KINDS, parse_fault
from lab.live.panes import TWIN_PANES
from lab.live.script import Script
from lab.live.session import Session
from lab.live.terminal import KeyBindings, Screen
from tests.live.test_terminal import RecordingSession, press
from tests.support.small import ROOT

STATIC = ROOT / "lab" / "live" / "static"


def faults_of_page() -> dict[str, tuple[str, str]]:
    """Label and kind of each fault in the page's table, by its key."""
    entry = re.compile(r'key: "(\w)",\s+label: "([^"]+)",\s+kind: "(\w+)"')
    text = (STATIC / "faults.js").read_text("utf-8")
    found = {key: (label.lower(), kind) for key, label, kind in entry.findall(text)}
    assert len(found) == text.count("key: ")
    return found


def kinds_in_table(file: str, name: str) -> set[str]:
    """The kinds that a table `const NAME = {` of a file of the page has."""
    text = (STATIC / file).read_text("utf-8")
    table = text.partition(f"const {name} = {{\n")[2].partition("\n};")[0]
    return set(re.findall(r"^  (\w+): ", table, re.MULTILINE))


async def test_each_key_adds_the_same_fault_in_both() -> None:
    session = RecordingSession()
    keys = KeyBindings(Screen(TWIN_PANES), cast(Session, session), Script(cast(Session, session)))
    for key, (label, kind) in faults_of_page().items():
        assert keys.bindings[key][0] == label
        session.calls.clear()
        await press(keys, key)
        assert {call[0] for call in session.calls} == {kind}
        for _, target, options, _ in cast(
            list[tuple[str, str, dict[str, Any], str]], session.calls
        ):
            assert parse_fault(kind, target, options).kind == kind


def test_the_page_names_only_kinds_that_exist() -> None:
    kinds = {kind for _, kind in faults_of_page().values()}
    assert kinds_in_table("keys.js", "FAULT_LABELS") == kinds
    assert kinds <= kinds_in_table("format.js", "FAULTS") <= set(KINDS)
