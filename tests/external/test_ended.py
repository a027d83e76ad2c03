"""However a check of an external system ends, no fault, process or stray is left."""

import sys
from pathlib import Path

import pytest

from tests.programs.ended_checks import ACheck, try_out, write_target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strays are made by setsid")


@pytest.mark.parametrize(
    "way",
    [
        "sigkill",
        pytest.param("ctrl-c", marks=pytest.mark.slow),
        pytest.param("sigkill of the fork server, too", marks=pytest.mark.slow),
    ],
)
def test_a_check_that_is_broken_off_leaves_nothing(way: str, tmp_path: Path) -> None:
    check = ACheck(write_target(tmp_path))
    try:
        check.until_broken(0)
        check.end(way)
    finally:
        check.clear_away()


@pytest.mark.soak
@pytest.mark.parametrize("number", range(50))
def test_in_fifty_tries_a_check_leaves_nothing(number: int, tmp_path: Path) -> None:
    try_out(tmp_path, number)
