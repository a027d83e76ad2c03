"""Run a program of the lab and record which of its files work.

`python traced_program.py OUT MODULE ARGUMENT…` runs the `main` of MODULE. SIGUSR1 begins a
recording, SIGUSR2 writes it to the file OUT: the name of each file of `lab/` in which Python called
a function meanwhile, in any thread, one on each line.
"""

import importlib
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

LAB = str(Path(__file__).parents[2] / "lab")


def main() -> None:
    out, module, *arguments = sys.argv[1:]
    files: set[str] = set()

    def record(frame: FrameType, event: str, argument: Any) -> None:
        files.add(frame.f_code.co_filename)

    def begin(number: int, frame: FrameType | None) -> None:
        files.clear()

    def write(number: int, frame: FrameType | None) -> None:
        names = sorted(name for name in files.copy() if name.startswith(LAB))
        whole = Path(f"{out}.part")
        whole.write_text("".join(f"{name}\n" for name in names))
        whole.rename(out)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, write)
    threading.setprofile(record)
    sys.setprofile(record)
    importlib.import_module(module).main(arguments)


if __name__ == "__main__":
    main()
