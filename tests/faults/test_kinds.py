"""The table of fault kinds: the command line and the documents have what it has."""

from pathlib import Path
from typing import Any

import pytest
import typer

from lab.commands.app import app
from lab.faults.kinds import KINDS, Fault, describe_options, parse_fault
from lab.live.sandbox import control_client
from tests.support.command_line import invoke_lab
from tests.support.documents import page_text

REQUIRED_OPTIONS: dict[str, list[str]] = {
    "latency": ["--ms", "20"],
    "partition": ["--from", "query"],
    "poison": ["--type", "CommentCreated"],
    "new_version": ["--version", "3"],
}


def test_lab_fault_takes_every_option_of_every_kind() -> None:
    commands: Any = typer.main.get_command(app)
    names = {parameter.name.rstrip("_") for parameter in commands.commands["fault"].params}
    assert names - {"kind", "target", "stack", "pid"} == set(describe_options())


@pytest.mark.parametrize("kind", KINDS)
def test_lab_fault_sends_a_valid_request_for_every_kind(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Fault] = []

    def inject(
        lab: object, kind: str, target: str, options: dict[str, Any], _: object
    ) -> list[str]:
        sent.append(parse_fault(kind, target, options))
        return ["done"]

    monkeypatch.setattr(control_client, "find_lab", lambda pid: None)
    monkeypatch.setattr(control_client, "inject_fault", inject)
    ended = invoke_lab("fault", kind, "posts", *REQUIRED_OPTIONS.get(kind, []), cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")
    assert [fault.kind for fault in sent] == [kind]


def test_the_documented_table_is_the_table_of_kinds() -> None:
    rows = ["| fault | options | what it does |", "|---|---|---|"]
    for kind, fault in KINDS.items():
        options = ", ".join(f"`{name}`" for name in fault.options() if name not in Fault.options())
        rows.append(f"| `{kind}` | {options} | {fault.description} |")
    expected = "\n".join(rows)
    assert expected in page_text("docs/scenario-files.md"), f"Expected table:\n{expected}"
