"""The only evidence that a fault has acted is what the fault filter has counted."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.cluster.control_client import ControlResponse
from lab.cluster.injector import Injection
from lab.cluster.stack import Stack
from lab.faults.kinds import parse_fault


@pytest.mark.parametrize("acted", [0, 1])
async def test_a_fault_is_proved_by_whom_it_hit(acted: int) -> None:
    async def call(method: str, *rest: Any, **more: Any) -> ControlResponse:
        return ControlResponse(
            200, "", {"evidence": {"acted": acted}} if method == "DELETE" else {}
        )

    stack = SimpleNamespace(
        urls={"posts": ""}, supervisor=None, programs=(), program=str, call=call
    )
    injection = Injection(cast(Stack, stack), parse_fault("error", "posts", {}), "x")
    await injection.begin()
    await injection.end()
    assert (injection.acted, injection.removed) == (bool(acted), True)
