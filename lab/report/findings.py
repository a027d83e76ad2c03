"""What the doctor saw, a line each, with what to try."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lab.doctor import Finding
from lab.report.text import styled

_SIGNS = {"ok": ("✓ ok  ", "green"), "warn": ("! warn", "yellow"), "bad": ("✗ bad ", "bold red")}


def show(found: Sequence[Finding], console: Console) -> None:
    """Print the findings."""
    for finding in found:
        console.print(Text.assemble(_SIGNS[finding.level], "  ", styled(finding.what)))
        if finding.try_next:
            console.print(Padding(styled(f"try: {finding.try_next}"), (0, 0, 0, 8)))
