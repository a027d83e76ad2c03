"""The start methods: forked from a warm process where possible, or in a new interpreter."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
METHODS = ["fork", "exec"] if sys.platform == "linux" else ["exec"]
QUICKEST_FIRST = [METHODS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in METHODS[1:])]

by_each_method = pytest.mark.parametrize("method", METHODS, indirect=True)
"""For a test of a promise that must also hold for the slower method."""


@pytest.fixture(params=QUICKEST_FIRST)
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LAB_START", request.param)
    monkeypatch.syspath_prepend(str(ROOT))
    return str(request.param)
