"""The test suite on every Python that the package supports: `make matrix`, `make smoke`.

Versions missing on this machine are named and skipped. One more session installs the oldest version
of each dependency that `pyproject.toml` allows.
"""

import shutil
import subprocess
import tomllib
from pathlib import Path

import nox

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
PYENV = Path.home() / ".pyenv" / "versions"
PARALLEL = ("-n", "4", "--dist", "loadfile", "--max-worker-restart", "2", "-o", "timeout=240")

nox.options.default_venv_backend = "venv"
nox.options.stop_on_first_error = False


def interpreter(version: str) -> str | None:
    """A Python of this version, from the PATH or from pyenv's folder; None if there is none."""
    on_path = shutil.which(f"python{version}")
    candidates = [on_path] if on_path else []
    candidates += map(str, sorted(PYENV.glob(f"{version}.*/bin/python"), reverse=True))
    for candidate in candidates:
        # pyenv puts a shim on the PATH even for versions that it cannot run.
        if subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
            return candidate
    return None


FOUND = {version: path for version in VERSIONS if (path := interpreter(version))}
MISSING = [version for version in VERSIONS if version not in FOUND]
OLDEST_PYTHON = next(iter(FOUND.values()))


def oldest_dependencies() -> list[str]:
    """`pydantic==2.11` for each `pydantic>=2.11` that the package or its `nats` extra needs."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["nats"]]
    return [line.replace(">=", "==") for line in wanted]


def say_what_is_missing(session: nox.Session) -> None:
    for version in MISSING:
        session.warn(f"Python {version} is not on this machine: not tried.")


@nox.session(python=list(FOUND.values()))
def tests(session: nox.Session) -> None:
    """All of `make test`, on each Python."""
    say_what_is_missing(session)
    session.install("--require-hashes", "-r", "constraints.txt", silent=True)
    session.install("--no-deps", "--no-build-isolation", "-e", ".", silent=True)
    session.run("python", "-m", "pytest", *PARALLEL, *session.posargs)


@nox.session(python=OLDEST_PYTHON)
def oldest(session: nox.Session) -> None:
    """All of `make test`, with the oldest allowed versions of the dependencies."""
    session.install("-e", ".[test]", *oldest_dependencies(), silent=True)
    # An old library may use what a newer one beside it calls deprecated. That is not ours to mend.
    old = ("-W", "ignore::DeprecationWarning")
    session.run("python", "-m", "pytest", *PARALLEL, *old, *session.posargs)


@nox.session(python=list(FOUND.values()))
def smoke(session: nox.Session) -> None:
    """One run from the built wheel, outside the checkout, on each Python."""
    say_what_is_missing(session)
    wheels = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(wheels), ".")
    session.install(*map(str, wheels.glob("*.whl")), silent=True)
    with session.chdir(session.create_tmp()):
        session.run("lab", "version")
        session.run("lab", "doctor", success_codes=[0, 3])
        # 3: this machine was too busy for a result; 1: for some figures. The wheel works.
        session.run("lab", "run", "slow-service", "--quick", success_codes=[0, 1, 3])
