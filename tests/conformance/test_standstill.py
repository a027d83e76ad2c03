"""`lab check` after Ctrl-Z, or on a computer that slept: a lab that stood still has no result."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lab.conformance import standstill
from lab.conformance.runner import CheckRun
from lab.conformance.standstill import StoodStill, unless_it_stood_still
from tests.support.foreign_blog import make_target, outages_named
from tests.support.laboratory import eventually

LOOKING = """
import asyncio, sys
from lab.conformance.standstill import StoodStill, unless_it_stood_still

async def look():
    print("looking", flush=True)
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

async def main():
    try:
        print("saw", await unless_it_stood_still(look), end="", flush=True)
    except StoodStill as error:
        print(error, flush=True)

asyncio.run(main())
"""


def is_stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


@pytest.mark.parametrize(
    ("standstills", "says"), [(0, "saw 0"), (1, "saw 1"), (2, "The lab was suspended")]
)
def test_what_a_suspended_lab_saw_is_looked_at_again(standstills: int, says: str) -> None:
    command = [sys.executable, "-c", LOOKING]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as lab:
        assert lab.stdin
        assert lab.stdout
        try:
            for number in range(min(standstills + 1, 2)):
                assert lab.stdout.readline() == "looking\n"
                if number < standstills:
                    lab.send_signal(signal.SIGSTOP)
                    eventually(lambda: is_stopped(psutil.Process(lab.pid)))
                    lab.send_signal(signal.SIGCONT)
                lab.stdin.write(f"{number}\n")
                lab.stdin.flush()
            assert says in lab.stdout.readline()
        finally:
            lab.kill()


async def test_what_was_seen_over_a_sleep_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asleep_s = iter([0.0, 30.0, 30.0, 30.0])
    monkeypatch.setattr(standstill, "_asleep_s", lambda: next(asleep_s))
    seen = iter(["first", "second"])

    async def look() -> str:
        return next(seen)

    assert await unless_it_stood_still(look) == "second"


def test_an_outage_in_which_the_lab_stood_still_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_run = CheckRun(make_target(), None, tmp_path)  # type: ignore[arg-type]
    tries = []

    async def stand_still(*_: object) -> None:
        tries.append(check_run.controls.starts)
        check_run.controls.starts += 1
        raise StoodStill("The lab was suspended")

    monkeypatch.setattr(check_run, "_try", stand_still)
    (section,) = asyncio.run(check_run.check_outages(outages_named("query-down")))
    assert tries == [0, 0]
    assert {line.held for line in section.findings} == {None}
    assert "The lab was suspended, so what" in section.findings[0].observed
