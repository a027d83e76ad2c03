"""`lab up` without its command line, on free ports, so that the tests can end it.

`python -m tests.programs.by_hand FOLDER WHICH`; it prints to standard output.
"""

import asyncio
import sys
from pathlib import Path

from lab.live.sandbox.session import run_up
from tests.programs.patient import be_patient


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    be_patient()
    try:
        asyncio.run(run_up(sys.argv[2], Path(sys.argv[1]), _say, ports={}))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
