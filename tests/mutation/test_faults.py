"""Whether the table of faults fits the source as it is now."""

from tests.mutation.__main__ import ROOT
from tests.mutation.faults import FAULTS


def test_there_are_sixty_four_faults_with_a_name_each() -> None:
    assert len({one.name for one in FAULTS}) == len(FAULTS) == 64


def test_each_fault_changes_one_place_and_still_compiles() -> None:
    for one in FAULTS:
        source = (ROOT / "lab" / one.file).read_text()
        assert source.count(one.old) == 1, one.name
        assert one.old != one.new, one.name
        compile(source.replace(one.old, one.new), one.file, "exec")


def test_whoever_is_to_catch_a_fault_is_there() -> None:
    assert [one.name for one in FAULTS if not one.tests] == []
    paths = {ROOT / "tests" / path for one in FAULTS for path in one.tests}
    assert [str(path) for path in paths if not path.exists()] == []
