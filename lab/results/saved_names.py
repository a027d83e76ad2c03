"""The folders of saved runs, by name only: no result is read, so the shell can complete them."""

import json
import os
import re
from pathlib import Path

RUNS = Path(os.environ.get("LAB_RUNS_DIR") or "runs")
"""Where runs are saved, unless a command is given another folder."""

LAST = "last"


def saved_folders(parent: Path = RUNS) -> list[Path]:
    """The folders with a result, newest first."""
    return sorted((path.parent for path in parent.glob("*/result.json")), reverse=True)


def scenario_of(folder: Path) -> str:
    """The scenario in the name of a run folder: `20260101-101500-slow-service-2`."""
    match = re.fullmatch(r"\d{8}-\d{6}-(.+?)(?:-\d{1,3})?", folder.name)
    return match[1] if match else folder.name


def has_valid_run(scenario: str, parent: Path = RUNS) -> bool:
    """Whether a saved run of this scenario is a result. Unreadable ones are passed over."""
    return any(
        has_valid_result(folder)
        for folder in saved_folders(parent)
        if scenario_of(folder) == scenario
    )


def has_valid_result(folder: Path) -> bool:
    """Whether the run in this folder is a result."""
    try:
        return json.loads((folder / "result.json").read_bytes()).get("valid") is True
    except (OSError, ValueError, AttributeError):
        return False
