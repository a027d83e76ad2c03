"""Stacks with external services, run by one supervisor for all tests of a file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from lab.cluster.injector import Injection
from lab.cluster.stack import Stack
from tests.support.course_world import wait_until_equal

T = TypeVar("T", bound=Stack)

in_module = pytest.mark.asyncio(loop_scope="module")
"""For tests that share the supervisor of their file."""


@asynccontextmanager
async def running_stack(stack: T) -> AsyncIterator[T]:
    with stack:
        try:
            await stack.start()
            yield stack
        finally:
            await stack.supervisor.end(*(one.name for one in stack.programs))


async def until_it_has_acted(stack: Stack, injection: Injection) -> None:
    """Wait until a fault in a fault filter has acted at least once."""

    async def acted() -> bool:
        url = stack.urls[injection.fault.target]
        faults = (await stack.call("GET", url, "/_lab/faults")).data
        return bool(faults[injection.name]["acted"])

    await wait_until_equal(acted, True)
