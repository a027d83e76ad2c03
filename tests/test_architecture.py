"""The packages: what may import what, what an import loads, each file's docstring."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.support.small import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
MOST_ROOMS = 20


def modules() -> list[Path]:
    return [path for path in (ROOT / "lab").rglob("*.py") if "start" not in path.parts]


def rooms() -> set[str]:
    return {path.parent.name for path in (ROOT / "lab").glob("*/__init__.py")}


def test_imports_keep_all_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS


def test_a_wrong_arrow_breaks_a_contract(tmp_path: Path) -> None:
    for room in ("domain", "commands"):
        (tmp_path / "lab" / room).mkdir(parents=True)
    (tmp_path / "lab" / "__init__.py").touch()
    (tmp_path / "lab" / "commands" / "__init__.py").touch()
    (tmp_path / "lab" / "domain" / "__init__.py").write_text("def f():\n    import lab.commands\n")
    layers = {**CONTRACTS[0], "layers": ["commands", "domain"]}
    lines = [f"{key} = {value!r}".replace("True", "true") for key, value in layers.items()]
    head = '[tool.importlinter]\nroot_package = "lab"\n[[tool.importlinter.contracts]]\n'
    (tmp_path / "pyproject.toml").write_text(head + "\n".join(lines))
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    command = [sys.executable, "-c", lint]
    linted = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert linted.returncode == 1


def test_every_room_is_in_the_layers() -> None:
    listed = [room for line in CONTRACTS[0]["layers"] for room in line.split(" | ")]
    assert sorted(listed) == sorted(rooms())
    assert len(listed) <= MOST_ROOMS
    assert {path.name for path in (ROOT / "lab").glob("*.py")} <= {"__init__.py", "__main__.py"}


@pytest.mark.parametrize(
    "module", ["lab", "lab.commands.app", "lab.scenarios.scenario", "lab.cluster"]
)
def test_an_import_loads_no_http_library(module: str) -> None:
    heavy = "{'aiohttp', 'requests', 'httptools'} & set(sys.modules)"
    script = f"import sys, {module}; print(sorted({heavy}))"
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout == "[]\n"


def reading_paths() -> list[list[str]]:
    """The files of each reading path on the first screen of the architecture page."""
    first_screen = (ROOT / "docs" / "architecture.md").read_text().partition("## The rooms")[0]
    tables = re.split(r"\n\n(?=\| one )", first_screen)[1:]
    return [re.findall(r"^\| `(lab/\S+\.py)`", table, re.MULTILINE) for table in tables]


def dotted(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def test_the_reading_paths_lead_from_file_to_file() -> None:
    paths = reading_paths()
    assert len(paths) == 4
    assert min(map(len, paths)) >= 6
    graph = grimp.build_graph("lab", cache_dir=None)
    alone = []
    for path in paths:
        names = {dotted(file) for file in path}
        for name in names:
            imports = graph.find_modules_directly_imported_by(name)
            importers = graph.find_modules_that_directly_import(name)
            if not names & (imports | importers):
                alone.append(name)
    assert alone == []


def test_every_file_begins_with_what_it_is() -> None:
    silent = [
        str(path)
        for path in modules()
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
