"""The docs' worked targets, each copied to a new folder and moved to free ports."""

import re
import shutil
from pathlib import Path

from lab.external.programs import find_free_port
from lab.external.target import COURSE_PORTS, Target, read_target
from tests.support.patience import PATIENCE_S

TARGETS = Path(__file__).parents[2] / "docs" / "targets"
NAMES = tuple(sorted(path.name for path in TARGETS.iterdir() if path.is_dir()))
REQUIRED_PROGRAM = {"node-blog": "node", "python-blog": "python3", "shell-blog": "python3"}
"""The program, besides the shell, that each target needs."""

_COURSE_PORT = re.compile(rf"\b({'|'.join(map(str, COURSE_PORTS.values()))})\b")


def copy_on_free_ports(name: str, folder: Path) -> Target:
    """A copy in `folder` with other ports than the course's, so that tests do not collide."""
    shutil.copytree(TARGETS / name, folder, dirs_exist_ok=True)
    ports: list[int] = []
    while len(ports) < len(COURSE_PORTS):
        ports += {find_free_port()} - {*ports}
    others = dict(zip(map(str, COURSE_PORTS.values()), map(str, ports), strict=True))
    for path in folder.rglob("*"):
        if path.suffix in (".js", ".py", ".toml"):
            text = path.read_text("utf-8")
            path.write_text(_COURSE_PORT.sub(lambda port: others[port[0]], text), "utf-8")
    file = folder / f"{name}.toml"
    text = file.read_text("utf-8")
    for service, port in COURSE_PORTS.items():
        head = f"[services.{service}]\n"
        text = text.replace(head, f"{head}port = {others[str(port)]}\n")
    file.write_text(text, "utf-8")
    patience = dict.fromkeys(("ready_within_s", "moderated_within_s"), PATIENCE_S)
    return read_target(file).model_copy(update=patience)
