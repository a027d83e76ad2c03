"""The only evidence that a fault has acted is what the fault filter has counted."""

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from lab.cluster.control_client import ControlResponse
from lab.cluster.injector import Injection, _is_suspended
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


def test_a_process_is_suspended_only_while_it_is_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = [_is_suspended(process.pid)]
        for send in (psutil.Process(process.pid).suspend, psutil.Process(process.pid).resume):
            send()
            while _is_suspended(process.pid) == found[-1]:
                time.sleep(0.01)
            found.append(_is_suspended(process.pid))
        process.communicate(b"\n")
    assert found == [False, True, False]
    assert _is_suspended(process.pid), "what has exited answers nothing either"
