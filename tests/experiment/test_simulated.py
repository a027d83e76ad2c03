"""The tables report at most one difference in twenty that does not exist, and find real ones."""

import pytest

from tests.bench.simulated import DATA_SETS, FAMILIES, Family, rates

QUICK_DATA_SETS, SLOW_DATA_SETS = 2, 100
FOUND = {
    "1.5 times as long, three runs pooled": 0.8,
    "0.02 times as long, few samples": 0.8,
    "80 % fifty times as slow, against 20 %, three runs pooled": 0.9,
    "a fifth as long, and one in ten fails": 0.8,
}
"""The least share of tables that report a difference of this kind."""


def test_hardly_a_table_reports_a_difference_that_is_none() -> None:
    alarms = {family.name: rates(family, QUICK_DATA_SETS)[0] for family in FAMILIES}
    assert sum(alarms.values()) <= 2 / QUICK_DATA_SETS, alarms


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param(SLOW_DATA_SETS, marks=pytest.mark.slow),
        pytest.param(DATA_SETS, marks=pytest.mark.soak),
    ],
)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_of_many_tables_few_report_what_does_not_exist(family: Family, tables: int) -> None:
    alarms, power = rates(family, tables)
    assert alarms <= 0.05
    assert power >= FOUND.get(family.name, 0.0)
