"""A target from its file, or sentences about what is wrong with it."""

from pathlib import Path
from typing import Any

from lab.foreign.service import PATTERNS
from lab.foreign.target import Target
from lab.reading import FileError, Kind, read_model, read_toml

DRAFT = "https://json-schema.org/draft/2020-12/schema"


class TargetError(FileError):
    """A target file of which nothing can be started."""


TARGET_FILE = Kind("a target", TargetError, patterns=PATTERNS)


def read_target(path: Path) -> Target:
    """The target in a file, which is named after it. Raises TargetError."""
    target = read_model(Target, path, TARGET_FILE, folder=path.absolute().parent)
    if problems := [
        f"services.{name}.cwd: there is no folder {service.cwd!r} beside this file. "
        f"It would be {target.cwd_of(name)}."
        for name, service in target.services.items()
        if not target.cwd_of(name).is_dir()
    ]:
        raise TargetError(path, problems, path.read_text("utf-8-sig"))
    return target


def is_target(path: Path) -> bool:
    """Whether a file means to be a target, and no scenario. Raises TargetError for no TOML."""
    return "services" in read_toml(path, TARGET_FILE)[0]


def target_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of target files."""
    made = Target.model_json_schema()
    for given in ("name", "folder"):  # by the file itself
        del made["properties"][given]
        made["required"].remove(given)
    command = made["$defs"]["Service"]["properties"]["command"]
    made["$defs"]["Service"]["properties"]["command"] = {
        "anyOf": [{"type": "string", "minLength": 1}, command]
    }
    return {"$schema": DRAFT, **made, "title": "A target of the sync-versus-async lab"}
