"""Puts faults into a copy of the lab, one at a time, and reports whether the tests catch them.

Without a name all faults are tried. Only tests of `make test` count: neither slow nor soak ones.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import cache_from_source
from pathlib import Path
from shutil import copy2, copytree
from tempfile import TemporaryDirectory

from tests.mutation.faults import FAULTS, SourceMutation

ROOT = Path(__file__).parents[2]
COPIED = ("lab", "tests", "docs", "notebooks", "cli.py", "pyproject.toml", "README.md")
PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:randomly", "-rf")
WITHIN_S = 900


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a fault, or a part of its name")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="so many at once (1)")
    parser.add_argument("--control", action="store_true", help="the same tests, without any fault")
    told = parser.parse_args(argv)
    chosen = [one for one in FAULTS if any(part in one.name for part in told.names or [""])]
    if not chosen:
        parser.error(f"no fault is called {' or '.join(told.names)}")
    if told.control:
        status, said = tested(None, dict.fromkeys(path for one in chosen for path in one.tests))
        sys.stdout.write(f"{said}\ncontrol: {f'status {status}' if status else 'all pass'}\n")
        return status
    caught = 0
    with ThreadPoolExecutor(told.jobs) as at_once:
        for fault, row in zip(chosen, at_once.map(tried, chosen), strict=True):
            caught += row.startswith("caught")
            sys.stdout.write(f"{fault.name}: {row}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{caught} of {len(chosen)}\n")
    return int(caught < len(chosen))


def tried(fault: SourceMutation) -> str:
    """The outcome for one fault: the test that caught it, or that no test did."""
    status, said = tested(fault, fault.tests)
    failed = re.search(r"^FAILED (.+?)(?: - .*)?$", said, re.MULTILINE)
    if status == 1 and failed:
        return f"caught by {failed[1]}"
    return "NOT CAUGHT" if status == 0 else f"NOT CAUGHT (status {status})\n{said}"


def tested(fault: SourceMutation | None, paths: Iterable[str]) -> tuple[int, str]:
    """Run some tests in a copy of the project, with or without a fault; exit status and output."""
    with TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder).resolve()
        for one in COPIED:
            (copytree if (ROOT / one).is_dir() else copy2)(ROOT / one, copy / one)
        if fault:
            file = copy / "lab" / fault.file
            source = file.read_text()
            if source.count(fault.old) != 1:
                raise SystemExit(f"{fault.name}: not exactly one such place in {fault.file}")
            file.write_text(source.replace(fault.old, fault.new))
            Path(cache_from_source(str(file))).unlink(missing_ok=True)
        # The lab is installed from its source folder: the copy must come first on the path.
        _, found = _python(
            copy, Path("/"), "-c", "import lab.service.store; print(lab.service.store.__file__)"
        )
        if Path(found.strip()) != copy / "lab" / "service" / "store.py":
            raise SystemExit(f"{found} would be tested, and not the copy in {copy}")
        return _python(copy, copy, *PYTEST, *(f"tests/{path}" for path in paths))


def _python(copy: Path, cwd: Path, *words: str) -> tuple[int, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    ran = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(copy)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WITHIN_S,
    )
    return ran.returncode, ran.stdout


if __name__ == "__main__":
    raise SystemExit(main())
