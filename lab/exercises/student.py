"""The student's program: `python -m lab.exercises.student FILE …`.

Runs the `main` of a file that is no module of the lab, as one of its programs. It may write 16 MiB
into any one file, its log above all: a loop that prints must not fill the disk.
"""

import importlib.util
import os
import resource
import sys
from pathlib import Path

MOST_BYTES = 16 * 1024 * 1024


def main(argv: list[str] | None = None) -> None:
    path, *words = sys.argv[1:] if argv is None else argv
    file = Path(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
    # What is compiled is known by its file's second and size; a file is mended quicker than that.
    sys.dont_write_bytecode = True
    # `requests` would go to a proxy of the environment even for what is on this machine.
    os.environ["no_proxy"] = "127.0.0.1"
    sys.path.append(str(file.parent))  # behind the lab's: a file posts.py hides nothing
    spec = importlib.util.spec_from_file_location(f"student_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = program
    spec.loader.exec_module(program)
    if not callable(getattr(program, "main", None)):
        sys.exit(f"{file.name} has no function main(argv), which would start it.")
    program.main(words)


if __name__ == "__main__":
    main()
