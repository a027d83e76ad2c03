"""Small C libraries that real programs load before all others (LD_PRELOAD), for what no test can do
to a whole machine: cut its power, step its clock."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_PROGRAMS = Path(__file__).parents[1] / "programs"

compiler = shutil.which("gcc") or shutil.which("cc")
needs_preload = pytest.mark.skipif(
    sys.platform != "linux" or compiler is None,
    reason="This is simulated by a library that a C compiler on Linux builds.",
)


@cache
def compile_library(name: str) -> bytes:
    """The shared library that is built from `tests/programs/<name>.c`."""
    assert compiler is not None
    with TemporaryDirectory() as folder:
        library = Path(folder) / "library.so"
        options = ("-shared", "-fPIC", "-O1", "-pthread", "-o", str(library))
        command = [compiler, *options, str(_PROGRAMS / f"{name}.c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return library.read_bytes()


@contextmanager
def preloaded(library: Path, **variables: str) -> Iterator[None]:
    """Programs that this process starts inside the block load `library`, with these variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"LD_PRELOAD": str(library), **variables}.items():
            patch.setenv(name, value)
        yield
