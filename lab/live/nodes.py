"""How each process is: asked five times a second, by the lab's own control route.

That route turns off before the door and before the workers, so it answers also when all of these
are busy; what does not answer there is down, or hangs. One that hangs is not asked again while the
question stands.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

from lab.cluster.reach import hearers
from lab.cluster.stack import Stack
from lab.domain.directory import BUS

EVERY_S = 0.2
HANGS_AFTER_S = 0.25
PATIENCE_S = 30.0

Up = bool | Literal["hangs"]


@dataclass
class Node:
    """A process at its newest answer."""

    up: Up = True
    state: Mapping[str, Any] = field(default_factory=dict)
    asked_s: float | None = None

    def told(self, head: int | None, hears: bool) -> dict[str, Any]:
        workers = self.state.get("workers")
        under_way = self.state.get("under_way", 0)
        busy = min(under_way, workers or 0)
        offset = self.state.get("offset")
        lag = max(0, head - offset) if hears and head is not None and offset is not None else None
        return {
            "up": self.up,
            "busy": busy,
            "workers": workers,
            "queue": under_way - busy,
            "untold": self.state.get("untold"),
            "lag": lag,
        }


class Nodes:
    """The processes of one stack; `run` looks after them until it is cancelled."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._homes = {stack.arrangement.home(target) for target in stack.arrangement.targets}
        self._nodes = {home: Node() for home in self._homes}
        self._hear = set(hearers(stack.arrangement))
        self._look_now = asyncio.Event()

    def look_now(self) -> None:
        """Something was done: don't wait for the next turn."""
        self._look_now.set()

    def told(self) -> dict[str, Any]:
        """By target. In a monolith all are the one process."""
        now_s = perf_counter()
        for node in self._nodes.values():
            if node.asked_s is not None and now_s - node.asked_s > HANGS_AFTER_S:
                node.up = "hangs"
        bus = self._nodes.get(BUS)
        head = bus.state.get("head") if bus else None
        home = self._stack.arrangement.home
        return {
            target: self._nodes[home(target)].told(head, target in self._hear)
            for target in self._stack.arrangement.targets
        }

    async def run(self) -> None:
        asking: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for home in self._homes:
                    if home not in asking or asking[home].done():
                        asking[home] = asyncio.create_task(self._ask(home))
                self._look_now.clear()
                try:
                    async with asyncio.timeout(EVERY_S):
                        await self._look_now.wait()
                except TimeoutError:
                    pass
        finally:
            for task in asking.values():
                task.cancel()
            await asyncio.gather(*asking.values(), return_exceptions=True)

    async def _ask(self, home: str) -> None:
        node, stack = self._nodes[home], self._stack
        target = next(
            one for one in stack.arrangement.targets if stack.arrangement.home(one) == home
        )
        node.asked_s = perf_counter()
        answer = await stack.call("GET", stack.urls[target], "/_lab/state", within_s=PATIENCE_S)
        node.asked_s = None
        if answer.ok:
            node.up, node.state = True, answer.data or {}
        elif answer.error == "timeout":
            node.up = "hangs"
        else:
            node.up = False
            # What a process had under way is gone with it; its offset and its outbox are not.
            node.state = {**node.state, "under_way": 0}
