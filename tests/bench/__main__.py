"""`python -m tests.bench [NAME…]`: measure the rows whose names begin with a NAME, or all of them.

Each result is saved in runs/bench at once; `--write` puts what is saved into docs/benchmarks.md and
measures nothing. The names of LONG and CURVES are measured only when given: they take up to hours.
"""

import importlib
import signal
import sys
import traceback
from pathlib import Path

from lab.results.run_folder import describe_environment
from tests.bench.ratio import Measured, Row, cells, measure

ROWS = ("bus", "calls", "generator", "start", "rebuild")
LONG = ("simulated", "false_alarms", "seeds", "predicted", "storms")
SAVED = Path("runs/bench")
PAGE = Path("docs/benchmarks.md")
_HEAD = (
    "what: ours, to the other",
    "to reach",
    "ratio (interval)",
    "better",
    "ours / other",
    "pairs; load; steal",
)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def rows(modules: tuple[str, ...] = ROWS) -> list[Row]:
    return [row for name in modules for row in importlib.import_module(f"tests.bench.{name}").ROWS]


def main() -> None:
    # Ends the servers that a row has started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    words = sys.argv[1:]
    if words == ["--write"]:
        write()
        return
    for name in [word for word in words if word in LONG]:
        for figure in importlib.import_module(f"tests.bench.{name}").figures():
            say(figure.line())
    names = [word for word in words if word not in LONG]
    chosen = [row for row in rows() if not words or row.name.startswith(tuple(names))]
    if names and not chosen:
        known = ", ".join([*(row.name for row in rows()), *LONG])
        sys.exit(f"No row begins with {' or '.join(names)}. Known: {known}.")
    say(machine())
    SAVED.mkdir(parents=True, exist_ok=True)
    failed = [row.name for row in chosen if not _measure_and_save(row)]
    if failed:
        sys.exit(
            f'Not measured: {", ".join(failed)}. Try again: make bench ONLY="{" ".join(failed)}"'
        )


def _measure_and_save(row: Row) -> bool:
    """Whether the row was measured, or is skipped with a reason; a failure is printed."""
    try:
        measured = measure(row)
    except Exception:
        traceback.print_exc()
        return False
    (SAVED / f"{row.name}.json").write_text(measured.model_dump_json(indent=1))
    _, *rest = cells(row, measured)
    say(f"{row.name}: {row.what}: {row.ours}, to {row.other}")
    say(f"    to reach {' | '.join(rest)} | {measured.seconds:.0f} s")
    return True


def machine() -> str:
    return ", ".join(f"{name} {value}" for name, value in describe_environment().items())


def write() -> None:
    """Replace the table between the marks in PAGE by what is saved."""
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    for row in rows():
        file = SAVED / f"{row.name}.json"
        saved = Measured.model_validate_json(file.read_text()) if file.exists() else None
        lines.append(_line(cells(row, saved)))
    before, _, rest = PAGE.read_text().partition("<!-- ratios -->\n")
    _, _, after = rest.partition("<!-- end of ratios -->")
    table = "\n".join(lines)
    PAGE.write_text(
        f"{before}<!-- ratios -->\n{machine()}\n\n{table}\n<!-- end of ratios -->{after}"
    )


def _line(words: object) -> str:
    return f"| {' | '.join(words)} |"  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
