"""The lab's own wheel, from the files that are running: for graders, which need this version."""

import base64
import hashlib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_DISTRIBUTION = "sync-async-lab"
_WHEEL = "Wheel-Version: 1.0\nGenerator: sync-async-lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class NotInstalled(RuntimeError):
    """The lab runs from a folder without being installed, so its dependencies are not known."""


def write_wheel(folder: Path) -> Path:
    """Write the wheel of the installed version into a folder.

    Format: packaging.python.org/en/latest/specifications/binary-distribution-format. Raises
    NotInstalled, OSError.
    """
    try:
        installed = distribution(_DISTRIBUTION)
    except PackageNotFoundError:
        raise NotInstalled(
            f"{_DISTRIBUTION} is not installed, so that its dependencies are not known. "
            "Install it first: pip install ."
        ) from None
    name = f"{_DISTRIBUTION.replace('-', '_')}-{installed.version}"
    info, package = f"{name}.dist-info", Path(__file__).parents[1]
    contents = {
        f"lab/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    for file in ("METADATA", "entry_points.txt"):
        contents[f"{info}/{file}"] = (installed.read_text(file) or "").encode()
    contents[f"{info}/WHEEL"] = _WHEEL.encode()
    record = [f"{file},sha256={_digest(data)},{len(data)}" for file, data in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join((*record, f"{info}/RECORD,,\n")).encode()
    wheel = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in contents.items():
            archive.writestr(file, data)
    return wheel


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
