"""A service's database at a power cut: what anybody has seen of it is on disk."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.power_cut import ForgetfulDisk
from tests.support.preload import needs_preload

pytestmark = needs_preload

KILLED_BEFORE_THE_SYNC = """
import os, sqlite3, sys
from pathlib import Path
{open}
database = sqlite3.connect(Path(sys.argv[1]) / "{file}", isolation_level=None)
database.execute("PRAGMA synchronous = OFF")
database.execute({statement!r})
os._exit(0)  # as if it was killed after the write and before the sync
"""
STORE = (
    "from lab.service.store import Store; store = Store(Path(sys.argv[1]) / 'posts.db', '', 'me')"
)
LOG = "from lab.bus.log.storage import LogFile; log = LogFile(Path(sys.argv[1]) / 'event-bus.db')"
FILES = {
    "outbox": (
        STORE,
        "posts.db",
        "INSERT INTO outbox (envelope) VALUES ('an event')",
        "store.count_outbox(0)",
    ),
    "log": (
        LOG,
        "event-bus.db",
        "INSERT INTO events VALUES (1, 'id', 'a line')",
        "log.head",
    ),
}


def run(disk: ForgetfulDisk, program: str) -> str:
    with disk.preloaded():
        command = [sys.executable, "-c", program, str(disk.folder)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("of", FILES)
def test_what_a_restarted_process_shows_survives_a_power_cut(tmp_path: Path, of: str) -> None:
    """It may come from a process that was killed after the write and before the sync: the relay
    would publish an event that the next power cut takes from its own service."""
    opening, file, statement, shown = FILES[of]
    (tmp_path / "disk").mkdir()
    disk = ForgetfulDisk(tmp_path / "disk", tmp_path / "journals")
    run(disk, KILLED_BEFORE_THE_SYNC.format(open=opening, file=file, statement=statement))
    show = f"import os, sys; from pathlib import Path; {opening}; print({shown}, flush=True)"
    assert run(disk, f"{show}; os._exit(0)") == "1\n"
    disk.cut_power()
    assert run(disk, show) == "1\n"
