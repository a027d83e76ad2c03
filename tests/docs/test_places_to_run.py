"""Where a class runs the lab: the image, the dev container, Binder.

Nothing here builds an image. Rules of hadolint hold the Dockerfile. A slow test runs its commands
in an empty environment, and then a scenario as another user whose home cannot be written.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.small import ROOT, environment

TIMEOUT_S = 1500
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
NOBODY = 65534


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, each with its arguments on one line."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    parts = [line.partition(" ") for line in lines if line.strip()]
    return [(word.upper(), rest.strip()) for word, _, rest in parts]


def mistakes(dockerfile: str) -> set[str]:
    """The rules of hadolint (github.com/hadolint/hadolint) that a Dockerfile breaks, by number."""
    found = set()
    said = instructions(dockerfile)
    users = [rest for word, rest in said if word == "USER"]
    if not users or users[-1] in ("root", "0"):
        found.add("DL3002")
    for word, rest in said:
        if word == "FROM" and not re.search(r":(?!latest\b)[\w.-]+", rest):
            found.add("DL3006")
        if word == "WORKDIR" and not rest.startswith("/"):
            found.add("DL3000")
        if word == "ADD":
            found.add("DL3020")
        if word in ("CMD", "ENTRYPOINT") and not isinstance(_json(rest), list):
            found.add("DL3025")
        if word == "RUN":
            for command in re.split(r"&&|;", rest):
                found |= _mistakes_of_command(shlex.split(command), rest)
    return found


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _mistakes_of_command(words: list[str], whole: str) -> set[str]:
    found = set()
    if words[0] == "cd":
        found.add("DL3003")
    if words[0] == "sudo":
        found.add("DL3004")
    if "pip" in words and "install" in words:
        named = [one for one in words[words.index("install") + 1 :] if not one.startswith("-")]
        if "--no-cache-dir" not in words:
            found.add("DL3042")
        if "-r" not in words and any("==" not in one for one in named):
            found.add("DL3013")
    if words[:2] == ["apt-get", "install"]:
        if "--no-install-recommends" not in words:
            found.add("DL3015")
        if "rm -rf /var/lib/apt/lists" not in whole:
            found.add("DL3009")
    return found


def test_the_image_breaks_no_rule() -> None:
    assert mistakes(DOCKERFILE) == set()


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("DL3002", "USER 1000", "USER root"),
        ("DL3002", "USER 1000\n", ""),
        ("DL3006", ":3.13-slim-bookworm", ""),
        ("DL3006", ":3.13-slim-bookworm", ":latest"),
        ("DL3000", "WORKDIR /home", "WORKDIR home"),
        ("DL3020", "COPY lab", "ADD lab"),
        ("DL3025", 'CMD ["jupyter", "lab"', "CMD jupyter lab #"),
        ("DL3003", "RUN useradd", "RUN cd / && useradd"),
        ("DL3004", "RUN useradd", "RUN sudo useradd"),
        ("DL3042", "--no-cache-dir -r", "-r"),
        ("DL3013", "-r binder/requirements.txt", "requests"),
        ("DL3009", "RUN useradd", "RUN apt-get install git && useradd"),
        ("DL3015", "RUN useradd", "RUN apt-get install git && useradd"),
    ],
)
def test_each_rule_finds_its_mistake(rule: str, old: str, new: str) -> None:
    assert old in DOCKERFILE
    assert rule in mistakes(DOCKERFILE.replace(old, new))


@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is not installed")
def test_hadolint_itself_finds_nothing() -> None:
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignore[1] == "*"
    kept = [line[1:] for line in ignore if line.startswith("!")]
    for word, rest in instructions(DOCKERFILE):
        if word == "COPY":
            *sources, _ = (one for one in rest.split() if not one.startswith("--"))
            for source in sources:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source.split("/")[0], one) for one in kept), source


def install_commands() -> list[list[str]]:
    """The commands of the Dockerfile that install the lab."""
    runs = " && ".join(rest for word, rest in instructions(DOCKERFILE) if word == "RUN")
    return [words for one in runs.split("&&") if "pip" in (words := shlex.split(one))]


def test_the_dev_container_and_binder_install_the_same() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    its_own = [shlex.split(one) for one in container["postCreateCommand"].split("&&")]

    def what(commands: list[list[str]]) -> list[list[str]]:
        return [[w for w in words if w not in ("--no-cache-dir", "--user")] for words in commands]

    assert what(its_own) == what(install_commands())
    assert install_commands()[-1][-1] == "binder/requirements.txt"
    assert (ROOT / "binder" / "requirements.txt").read_text().splitlines()[-1].startswith(".[")
    version = (ROOT / "binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    tests = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    assert f" {version}\n" in tests, "a version that is tested"
    assert "python:1-3.13" in container["image"]
    assert " 3.13\n" in tests


def python_for_all() -> str:
    """A Python that another user can run: that of the tests may lie in root's home."""
    for found in (Path(sys.executable).resolve(), Path("/usr/bin/python3").resolve()):
        is_open = all(parent.stat().st_mode & 0o001 for parent in found.parents if found.exists())
        test = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
        if found.exists() and is_open and subprocess.run([found, "-c", test]).returncode == 0:
            return str(found)
    pytest.skip("no Python from 3.11 on can be run by another user")


@pytest.mark.slow
@pytest.mark.timeout(3 * TIMEOUT_S)
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="only root can become another user, with setpriv",
)
def test_the_image_s_commands_make_a_lab_for_a_user_without_a_home(tmp_path: Path) -> None:
    """A clean environment, the image's commands, another user, one folder that can be written."""
    source, env = tmp_path / "source", tmp_path / "env"
    for word, rest in instructions(DOCKERFILE):
        if word == "COPY" and "/home" not in rest:
            *files, to = rest.split()
            for file in files:
                target = source / to / (Path(file).name if to.endswith("/") else "")
                target.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / file).is_dir():
                    shutil.copytree(ROOT / file, target)
                else:
                    shutil.copy(ROOT / file, target)
    subprocess.run([python_for_all(), "-m", "venv", env], check=True)
    for words in install_commands():
        assert words[0] == "python"
        command = [str(env / "bin" / "python"), *words[1:], "--quiet"]
        subprocess.run(
            command, cwd=source, check=True, timeout=TIMEOUT_S, env=environment(PYTHONPATH="")
        )

    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir(mode=0o555)
    work.mkdir()
    os.chown(work, NOBODY, NOBODY)
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    user = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--")

    def as_nobody(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, (*user, *words))),
            cwd=work,
            env=environment(HOME=str(home), PATH=f"{env}/bin:{os.environ['PATH']}", PYTHONPATH=""),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    written = as_nobody("touch", home / "x")
    assert written.returncode != 0
    run = as_nobody("lab", "run", "slow-service", "--quick")
    assert run.returncode in (0, 1, 3), run.stdout + run.stderr  # 3: this machine was busy
    assert "Traceback" not in run.stderr
    assert list((work / "runs").iterdir()), run.stdout + run.stderr
    notebook = as_nobody("jupyter", "lab", "--version")
    assert (notebook.returncode, notebook.stderr) == (0, "")
