"""`lab …` on a machine that may be busy: `python tests/programs/unhurried.py run …`.

A run counts as a result even if the machine was slow: load sent late, too late to meet a fault, or
timed out before anything was broken; a fault that began late, or met a backlog. A slow start is no
error.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 100.0
HANGS_AFTER_S = 600.0
SLOWNESS = (
    "Nothing can be judged",
    "was not well before",
    "is not proved to have acted",
)


def be_unhurried(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Apply this to the rest of this process. `put` sets an attribute."""
    from lab.cluster.supervisor import Supervisor
    from lab.exercises import grader
    from lab.experiment import evaluate, runner, trial

    def problems(*of: Any) -> list[str]:
        found = evaluate.validity_problems(*of)
        return [one for one in found if not any(words in one for words in SLOWNESS)]

    put(runner, "validity_problems", problems)
    put(evaluate, "doubts", lambda *of: [])
    put(trial, "unsteady_figures", lambda *of: {})
    put(Supervisor.start, "__kwdefaults__", {"ready_within_s": PATIENCE_S})
    put(grader.check, "__defaults__", (HANGS_AFTER_S, PATIENCE_S))


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

    from lab.commands.app import main

    be_unhurried()
    main()
