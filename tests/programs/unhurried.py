"""`lab …` on a machine that may be busy: `python tests/programs/unhurried.py run …`.

A load that was late is a result all the same, and no program is given up for being slow to start.
"""

import sys
from pathlib import Path


def be_unhurried() -> None:
    """From here on, in this process."""
    from lab.cluster.supervisor import Supervisor
    from lab.scenarios import evaluate

    evaluate.LATE_SHARE = 1.0
    Supervisor.start.__kwdefaults__ = {"ready_within_s": 100.0}


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

    from lab.commands.app import main

    be_unhurried()
    main()
