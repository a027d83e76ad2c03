"""A browser and a console for the tests of a file; skipped where there is no browser."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import chromium
from tests.support.live_world import ConsoleProcess, run_console_process


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def typed_console(
    browser: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConsoleProcess]:
    """`lab live` with the `OPTIONS` of the test's file."""
    with run_console_process(
        tmp_path_factory.mktemp("live"), "--rate", "5", *request.module.OPTIONS
    ) as console:
        yield console


@pytest.fixture(scope="module")
def address(typed_console: ConsoleProcess) -> str:
    return typed_console.addresses[0]
