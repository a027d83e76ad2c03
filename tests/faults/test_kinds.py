"""The table of fault kinds: the command line and the documents have what it has."""

from typing import Any

import typer

from lab.commands.app import app
from lab.faults.kinds import KINDS, Fault, describe_options
from tests.support.documents import page_text


def test_lab_fault_takes_every_option_of_every_kind() -> None:
    commands: Any = typer.main.get_command(app)
    names = {parameter.name.rstrip("_") for parameter in commands.commands["fault"].params}
    assert names - {"kind", "target", "stack", "pid"} == set(describe_options())


def test_the_documented_table_is_the_table_of_kinds() -> None:
    rows = ["| fault | options | what it does |", "|---|---|---|"]
    for kind, fault in KINDS.items():
        options = ", ".join(f"`{name}`" for name in fault.options() if name not in Fault.options())
        rows.append(f"| `{kind}` | {options} | {fault.description} |")
    expected = "\n".join(rows)
    assert expected in page_text("docs/scenario-files.md"), f"Expected table:\n{expected}"
