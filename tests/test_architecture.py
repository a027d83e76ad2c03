"""The rule of arrows, read from the imports: who may know whom, and what is loaded when."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 260
SIDES = {"lab.sync_chain", "lab.async_bus"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {"cli": ROOT / "cli.py"} if (ROOT / "cli.py").exists() else {}
    for path in sorted((ROOT / "lab").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


@cache
def imports(name: str) -> frozenset[str]:
    """The modules of the project that a module imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            origin = node.module or ""
            inner = {f"{origin}.{alias.name}" for alias in node.names}
            known = inner & modules().keys()
            found |= known
            if len(known) < len(inner):  # some of the names are not modules, but in the module
                found.add(origin)
    return frozenset(found & modules().keys())


def loaded_at_import(name: str) -> frozenset[str]:
    """Those of its imports that run when it is imported: not in a function, not for types only."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(modules()[name].read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules().keys()
            found |= inner or {node.module or ""}
        todo += ast.iter_child_nodes(node)
    return frozenset(found & modules().keys())


def under(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def known_by(room: str) -> set[tuple[str, str]]:
    """(importer, imported) for everything that a room imports from outside itself."""
    return {
        (name, other)
        for name in modules()
        if under(name, {room})
        for other in imports(name)
        if not under(other, {room}) and other != "lab"
    }


# Who may know whom. A room that is not named here is checked by the rules below the table only.
MAY_KNOW: dict[str, set[str]] = {
    "lab.domain": set(),
    "lab.spans": set(),
    "lab.deadline": {"lab.domain"},
    "lab.bottleneck": {"lab.deadline", "lab.domain"},
    "lab.degraded": set(),
    "lab.tally": set(),
    "lab.lifeline": set(),
    "lab.beside": set(),
    "lab.faults": {"lab.meant"},
    "lab.nats_here": set(),
    "lab.meant": set(),
    "lab.lines": set(),
    "lab.reading": {"lab.meant", "lab.lines"},
    "lab.shell_options": set(),
    "lab.web": {"lab.degraded", "lab.domain"},
    "lab.holder": set(),
    "lab.listener": {"lab.domain", "lab.holder", "lab.web"},
    "lab.store": {"lab.domain", "lab.spans"},
    "lab.idempotency": {"lab.domain", "lab.store"},
    "lab.service": {"lab.idempotency", "lab.store", "lab.web"},
    "lab.openapi": {"lab.domain", "lab.web"},
    "lab.control_routes": {"lab.domain", "lab.faults", "lab.web"},
    "lab.doorstep": {"lab.domain", "lab.faults", "lab.web"},
    "lab.shell": {
        *("lab.domain", "lab.faults", "lab.lifeline", "lab.listener", "lab.spans", "lab.web"),
        *("lab.control_routes", "lab.deadline", "lab.doorstep", "lab.openapi"),
        *("lab.beside", "lab.bottleneck", "lab.idempotency", "lab.shell_options"),
    },
    "lab.bus": {
        *("lab.domain", "lab.nats_here", "lab.openapi", "lab.shell", "lab.web"),
        "lab.doorstep",
    },
    "lab.sync_chain": {
        *("lab.domain", "lab.service", "lab.shell", "lab.spans", "lab.store", "lab.web"),
        *("lab.deadline", "lab.degraded", "lab.idempotency", "lab.tally"),
        "lab.bus",  # the carrier of request-reply only: see below
    },
    "lab.async_bus": {
        *("lab.domain", "lab.service", "lab.shell", "lab.spans", "lab.store", "lab.web"),
        *("lab.bus", "lab.faults", "lab.idempotency"),
    },
    "lab.exercises": {
        *("lab.cluster", "lab.domain", "lab.faults", "lab.terminal"),
        *("lab.report.text", "lab.report.junit"),
    },
    "lab.live": {
        *("lab.byhand", "lab.scenarios", "lab.cluster", "lab.load", "lab.faults", "lab.domain"),
        *("lab.web", "lab.listener", "lab.holder", "lab.terminal", "lab.report", "lab.meant"),
    },
}

FORBIDDEN: dict[str, set[str]] = {
    "lab.foreign": {
        *("lab.api", "lab.scenarios", "lab.report", "lab.live", "lab.byhand", "lab.card"),
        *("lab.exercises", "lab.terminal", "lab.commands", *SIDES),
    },
    "lab.load": {
        "lab.api",
        "lab.scenarios",
        "lab.report",
        "lab.live",
        "lab.cluster",
        "lab.commands",
        *SIDES,
    },
    "lab.cluster": {"lab.api", "lab.scenarios", "lab.report", "lab.live", "lab.commands", *SIDES},
    "lab.scenarios": {"lab.api", "lab.report", "lab.live", "lab.commands", "lab.bus", *SIDES},
    "lab.report": {"lab.api", "lab.commands", "lab.bus", "lab.live", *SIDES},
}


@pytest.mark.parametrize("room", MAY_KNOW)
def test_a_room_knows_only_whom_it_may(room: str) -> None:
    assert room in modules()
    assert {pair for pair in known_by(room) if not under(pair[1], MAY_KNOW[room])} == set()


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_arrow_points_upwards(room: str) -> None:
    assert known_by(room)
    assert {pair for pair in known_by(room) if under(pair[1], FORBIDDEN[room])} == set()


def test_the_twins_never_import_each_other() -> None:
    one, other = sorted(SIDES)
    assert not {pair for pair in known_by(one) if under(pair[1], {other})}
    assert not {pair for pair in known_by(other) if under(pair[1], {one})}


def test_on_the_side_of_questions_only_their_carrier_knows_the_bus() -> None:
    assert {pair for pair in known_by("lab.sync_chain") if under(pair[1], {"lab.bus"})} == {
        ("lab.sync_chain.ask_by_events", "lab.bus.base"),
        ("lab.sync_chain.stack", "lab.bus.open"),
    }


def test_only_cli_imports_the_commands() -> None:
    importers = {name for name, other in known_by("cli") if under(other, {"lab.commands"})}
    inside = {"lab.commands"}
    others = [
        name
        for name in modules()
        if not under(name, inside) and any(under(other, inside) for other in imports(name))
    ]
    assert others == ["cli"]
    assert importers == {"cli"}


def test_only_programs_are_imported_from_a_side() -> None:
    """Whoever names a stack names it in data: outside the sides, no import leads into them."""
    assert {
        (name, other)
        for name in modules()
        if not under(name, SIDES)
        for other in imports(name)
        if under(other, SIDES)
    } == set()


def test_imports_make_no_circle() -> None:
    seen: dict[str, bool] = {}  # True: its imports are being followed just now

    def follow(name: str, way: tuple[str, ...]) -> None:
        assert not seen.get(name), f"a circle: {' → '.join((*way, name))}"
        if name in seen:
            return
        seen[name] = True
        for other in sorted(loaded_at_import(name)):
            if other != name:
                follow(other, (*way, name))
        seen[name] = False

    for name in modules():
        follow(name, ())
    assert set(seen) == set(modules())


@pytest.mark.parametrize("module", ["lab", "cli", "lab.scenarios.scenario", "lab.cluster"])
def test_importing_the_doors_loads_no_http_library(module: str) -> None:
    if module not in modules():
        pytest.skip(f"there is no {module} yet")
    heavy = "{'aiohttp', 'requests', 'httptools'} & set(sys.modules)"
    script = f"import sys, {module}; print(sorted({heavy}))"
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"


def test_no_file_is_two_ideas_long() -> None:
    rooms = {name: path for name, path in modules().items() if name != "cli"}
    lines = {name: len(path.read_text().splitlines()) for name, path in rooms.items()}
    assert len(lines) > 50
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_every_file_begins_by_saying_what_it_is() -> None:
    silent = [
        name
        for name, path in modules().items()
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
