"""`python -m tests.bench [PART…]`: measure, and print a line per figure, slowest parts last."""

import importlib
import sys

from lab.results.run_folder import describe_environment

PARTS = (
    "simulated",
    "startup",
    "hop",
    "lag",
    "delivery",
    "sidecar",
    "card",
    "nats",
    "events",
    "visible",
    "rebuild",
    "runs",
    "false_alarms",
    "seeds",
    "predicted",
    "storms",
)


def main() -> None:
    chosen = sys.argv[1:] or PARTS
    if unknown := [part for part in chosen if part not in PARTS]:
        sys.exit(f"There is no part {unknown[0]!r}. Known: {', '.join(PARTS)}.")
    machine = ", ".join(f"{name} {value}" for name, value in describe_environment().items())
    sys.stdout.write(f"{machine}\n\n")
    for part in chosen:
        for figure in importlib.import_module(f"tests.bench.{part}").figures():
            sys.stdout.write(f"{figure.line()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
