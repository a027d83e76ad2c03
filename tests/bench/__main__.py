"""`python -m tests.bench [NAME…]`: measure the rows whose names begin with a NAME, or all of them.

Each result is saved in runs/bench at once; `--write` puts what is saved into docs/benchmarks.md and
measures nothing. SIZES and LONG are measured only when named: they take up to hours.
"""

import importlib
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab.results.run_folder import describe_environment
from tests.bench.ratio import Measured, Row, cells, measure

ROWS = ("bus", "calls", "generator", "start", "rebuild")
SIZES = ("sizes",)
LONG = ("simulated", "false_alarms", "seeds", "predicted", "storms")
SAVED = Path("runs/bench")
PAGE = Path("docs/benchmarks.md")
_HEAD = (
    "what: ours / the other",
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


def main(words: Sequence[str]) -> None:
    # Ends the servers that a row has started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if words == ["--write"]:
        write()
        return
    for name in [word for word in words if word in LONG]:
        for figure in importlib.import_module(f"tests.bench.{name}").figures():
            say(figure.line())
    names = [word for word in words if word not in LONG]
    known = rows(ROWS + SIZES) if names else rows()
    exact = {row.name for row in known}.intersection(names)
    begins = tuple(name for name in names if name not in exact)
    chosen = [row for row in known if not words or row.name in exact or row.name.startswith(begins)]
    if names and not chosen:
        all_names = ", ".join([*(row.name for row in known), *LONG])
        sys.exit(f"No row begins with {' or '.join(names)}. Known: {all_names}.")
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
    say(f"{row.name}: {row.what}: {row.ours} / {row.other}")
    say(f"    to reach {' | '.join(rest)} | {measured.seconds:.0f} s")
    return True


def machine() -> str:
    return ", ".join(f"{name} {value}" for name, value in describe_environment().items())


def write() -> None:
    """Replace the tables between the marks in PAGE by what is saved."""
    page = PAGE.read_text()
    for mark, modules in (("ratios", ROWS), ("sizes", SIZES)):
        lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
        for row in rows(modules):
            file = SAVED / f"{row.name}.json"
            saved = Measured.model_validate_json(file.read_text()) if file.exists() else None
            lines.append(_line(cells(row, saved)))
        before, begin, rest = page.partition(f"<!-- {mark} -->\n")
        _, end, after = rest.partition(f"<!-- end of {mark} -->")
        if not (begin and end):
            sys.exit(f"{PAGE} has no marks for the table of {mark}.")
        page = "".join((before, begin, machine(), "\n\n", "\n".join(lines), "\n", end, after))
    PAGE.write_text(page)


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"


if __name__ == "__main__":
    main(sys.argv[1:])
