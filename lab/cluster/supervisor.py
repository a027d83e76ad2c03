"""Starts programs in parallel, waits until they are ready, kills, restarts and ends them.

    async with Supervisor(preload=["aiohttp.web"], run_dir=folder) as supervisor:
        await supervisor.start(posts, comments)     # returns when both respond with 200
        await supervisor.kill("comments")           # connections are refused from here on
        await supervisor.restart("comments")        # the same program, ready again
    # here no process is left, whatever happened above

The processes are children of the fork server (`lab.cluster.forkserver`), not of this process. That
is why none is left when this process is killed, and why this class works in any event loop,
Jupyter's included: it needs neither child watchers nor threads.
"""

import asyncio
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.cluster.errors import (
    ForkServerLost,
    LabCannotRun,
    NotReady,
    NotRunning,
    SignalFailed,
    StartFailed,
)
from lab.cluster.forkserver_client import ForkServerClient, ForkServerRefused, log_tail
from lab.cluster.health import Health, probe_health
from lab.cluster.program import Exit, ManagedProcess, Program

__all__ = ["Exit", "Program", "Supervisor"]

READY_WITHIN_S = 10.0
GRACE_S = 2.0
HEALTH_WITHIN_S = 1.5  # longer than a sidecar waits for its service: the sidecar can respond
PROBE_PAUSES_S = (0.003, 0.025)  # the first and the longest pause between two probes


class Supervisor:
    """The lab's processes.

    `preload`: modules that the programs import; the fork server imports them once for all.
    `run_dir`: folder for the fork server's log; created if needed, with access for this user only.
    """

    def __init__(self, preload: Sequence[str], run_dir: Path) -> None:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fork_server = ForkServerClient(
            preload, run_dir / "fork-server.log", self._on_exit, self._on_lost
        )
        self._children: dict[str, ManagedProcess] = {}
        self._unexpected: list[Exit] = []

    def launch(self) -> None:
        """Start the fork server early, so that it imports while the caller does something else.

        Optional: entering the context does it too.
        """
        self._fork_server.launch()

    async def __aenter__(self) -> Self:
        self.launch()
        await self._fork_server.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stopping = asyncio.create_task(self.stop(), name="stop all programs")
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            # A second Ctrl-C during the orderly end: the fork server kills all programs at once.
            self._fork_server.abandon()
            stopping.cancel()
            raise

    async def start(self, *programs: Program, ready_within_s: float = READY_WITHIN_S) -> None:
        """Start the programs in parallel; return when each is ready. Raises StartFailed,
        NotReady."""
        tasks = [asyncio.create_task(self._start(each, ready_within_s)) for each in programs]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def restart(self, name: str, ready_within_s: float = READY_WITHIN_S) -> float:
        """Start the same program again and wait until it is ready; kill it first if it still runs.

        Returns when it answered first, a value of `perf_counter`: a consumer answers requests while
        it is not ready, because it has still to catch up. Raises NotRunning, StartFailed, NotReady.
        """
        child = self._get_child(name)
        if not child.ended.is_set():
            await self.kill(name)
        await self.start(child.program, ready_within_s=ready_within_s)
        return min(self._get_child(name).answered_s, time.perf_counter())

    def pid(self, name: str) -> int:
        """The process id of the program's latest start. Raises NotRunning."""
        return self._get_child(name).pid

    def alive(self, name: str) -> bool:
        """Whether the program was started and has not ended; a suspended program is alive."""
        return name in self._children and not self._children[name].ended.is_set()

    async def kill(self, name: str) -> None:
        """Send SIGKILL; return when the process has ended and is reaped. Raises NotRunning."""
        child = self._get_running(name)
        child.stop_requested = True
        await self._signal(child, signal.SIGKILL)
        await child.ended.wait()

    async def terminate(self, name: str) -> None:
        """Send SIGTERM; don't wait for the end, which `wait` does. Raises NotRunning."""
        child = self._get_running(name)
        child.stop_requested = True
        await self._signal(child, signal.SIGTERM)

    async def suspend(self, name: str) -> None:
        """Send SIGSTOP; return when the process is seen to be stopped.

        Raises NotRunning, SignalFailed.
        """
        await self._set_suspended(self._get_running(name), True)

    async def resume(self, name: str) -> None:
        """Send SIGCONT; return when the process is seen to run again.

        Raises NotRunning, SignalFailed.
        """
        await self._set_suspended(self._get_running(name), False)

    def descendant_pids(self, name: str) -> list[int]:
        """The process ids of the program's living descendants. Raises NotRunning."""
        from lab.cluster.process_tree import descendants

        return [process.pid for process in descendants(self._get_child(name).pid)]

    async def wait(self, name: str, timeout_s: float | None = None) -> int:
        """Wait for the end of a program; return its exit status.

        Raises NotRunning, TimeoutError, ForkServerLost.
        """
        child = self._get_child(name)
        async with asyncio.timeout(timeout_s):
            await child.ended.wait()
        if child.status is None:
            raise ForkServerLost(log_tail(self._fork_server.log))
        return child.status

    def unexpected_exits(self) -> tuple[Exit, ...]:
        """Exits that the supervisor did not cause, in order of time.

        A program without a health URL may exit with status 0, and with any status if it `may_fail`.
        """
        return tuple(self._unexpected)

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """End every program as `end` does; return when the fork server has ended as well."""
        await self.end(*self._children, grace_s=grace_s)
        await self._fork_server.close()

    async def end(self, *names: str, grace_s: float = GRACE_S) -> None:
        """Send SIGTERM, and after `grace_s` seconds SIGKILL to the programs that still run; wait
        until all are reaped.

        A suspended program can't handle SIGTERM and gets SIGKILL only. A name whose program has
        ended, or was never started, is skipped.
        """
        known = [self._children[name] for name in names if name in self._children]
        for child in known:
            child.stop_requested = True
        await self._signal_and_wait(
            [child for child in known if not child.suspended], signal.SIGTERM, grace_s
        )
        await self._signal_and_wait(known, signal.SIGKILL, grace_s)

    async def _signal_and_wait(
        self, children: Iterable[ManagedProcess], number: int, within_s: float
    ) -> None:
        living = [child for child in children if not child.ended.is_set()]
        # A process that has just ended can't be signalled: that error does not matter.
        await asyncio.gather(*(self._signal(c, number) for c in living), return_exceptions=True)
        ends = [asyncio.create_task(child.ended.wait()) for child in living]
        if ends:
            _, late = await asyncio.wait(ends, timeout=within_s)
            for task in late:
                task.cancel()

    async def _start(self, program: Program, ready_within_s: float) -> None:
        if self.alive(program.name):
            raise StartFailed(program.name, None, ["It is already running."])
        log_begin = program.log.stat().st_size if program.log.exists() else 0
        child = self._children[program.name] = ManagedProcess(program, log_begin)
        try:
            answer = await self._fork_server.request(do="start", **program.start_message())
        except LabCannotRun as error:
            child.ended.set()
            if isinstance(error, ForkServerRefused):
                raise StartFailed(program.name, None, [str(error)]) from None
            raise
        child.pid = answer["pid"]
        if program.health is not None:
            within_s = program.ready_within_s or ready_within_s
            await self._until_ready(child, program.health, within_s)

    async def _until_ready(self, child: ManagedProcess, url: str, within_s: float) -> None:
        deadline, (pause_s, longest_s) = time.perf_counter() + within_s, PROBE_PAUSES_S
        health = Health(None)
        while time.perf_counter() < deadline:
            health = await probe_health(url, HEALTH_WITHIN_S)
            if child.ended.is_set():  # Then any response came from another process.
                if self._fork_server.lost:
                    raise ForkServerLost(log_tail(self._fork_server.log))
                raise StartFailed(child.program.name, child.status, child.last_lines())
            if health.answers:
                child.answered_s = min(child.answered_s, time.perf_counter())
            if health.status == 200:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.2, longest_s)
        reason = await asyncio.to_thread(child.explain_not_ready, health.reason)
        raise NotReady(child.program.name, within_s, reason, child.last_lines())

    async def _set_suspended(self, child: ManagedProcess, suspended: bool) -> None:
        await self._signal(child, signal.SIGSTOP if suspended else signal.SIGCONT)
        child.suspended = suspended
        deadline = time.perf_counter() + GRACE_S
        while not child.ended.is_set() and time.perf_counter() < deadline:
            if _is_stopped(child) == suspended:
                return
            await asyncio.sleep(0.001)
        raise SignalFailed(
            f"{child.program.name} (pid {child.pid}) {'runs on' if suspended else 'stands still'}. "
            "Did it end just now, or does a debugger or another program signal it?"
        )

    async def _signal(self, child: ManagedProcess, number: int) -> None:
        try:
            await self._fork_server.request(
                do="signal", name=child.program.name, number=int(number)
            )
        except ForkServerRefused as error:
            if number != signal.SIGKILL:  # After SIGKILL it may well have ended.
                raise NotRunning(str(error)) from None

    def _get_child(self, name: str) -> ManagedProcess:
        if name not in self._children:
            known = ", ".join(sorted(self._children)) or "none yet"
            raise NotRunning(f"No program called {name!r} was started; there are: {known}.")
        return self._children[name]

    def _get_running(self, name: str) -> ManagedProcess:
        child = self._get_child(name)
        if child.ended.is_set():
            raise NotRunning(f"{name} has ended, and has to be started again first.")
        return child

    def _on_exit(self, name: str, status: int) -> None:
        child = self._children[name]
        child.status = status
        child.ended.set()
        finished = child.program.health is None and (status == 0 or child.program.may_fail)
        if not child.stop_requested and not finished:
            self._unexpected.append(Exit(name, status, tuple(child.last_lines())))

    def _on_lost(self) -> None:
        for child in self._children.values():
            child.ended.set()


def _is_stopped(child: ManagedProcess) -> bool:
    import psutil

    if child.program.owns_tree:
        from lab.cluster.process_tree import all_stopped

        return all_stopped(child.pid)
    return bool(psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
