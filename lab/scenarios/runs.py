"""Where runs are kept: a folder each, with fixed file names, for its owner's eyes only."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from lab.scenarios.result import Result, ResultError

RUNS = Path("runs")


def new_folder(scenario: str, under: Path = RUNS) -> Path:
    """Make `<under>/<time>-<scenario>/`, 0700; two runs in one second get different ones."""
    under.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1_000):
        folder = under / (f"{stamp}-{scenario}" + (f"-{number}" if number > 1 else ""))
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{under} has a thousand runs of this very second.")


def drop_databases(folder: Path) -> None:
    """Throw the services' databases away: result, samples, logs and spans stay."""
    for part in ("", "variant-*/", "run-*/", "run-*/variant-*/"):
        for data in folder.glob(f"{part}data"):
            shutil.rmtree(data, ignore_errors=True)


def kept(under: Path = RUNS) -> Iterator[tuple[Path, Result]]:
    """The runs kept here, newest first; folders without a readable result are passed over."""
    for path in sorted(under.glob("*/result.json"), reverse=True):
        try:
            yield path.parent, Result.load_file(path)
        except ResultError:
            continue
