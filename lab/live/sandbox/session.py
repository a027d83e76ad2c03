"""`lab up`: runs one blog, or both twins, until Ctrl-C.

The processes are the same as in a scenario, but on fixed, memorable ports and without load:
requests come from curl, faults from `lab fault` in another terminal. `--set NAME=VALUE` gives
the switches of a variant.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, preload
from lab.cluster.errors import describe_exit
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.domain.services import BUS, BY_HAND_PORTS, TWINS
from lab.live.sandbox.control_server import control_server
from lab.live.sandbox.fault_controller import FaultController
from lab.live.sandbox.instances import RunningLab, registered_instance
from lab.scenarios.spec import VariantSpec
from lab.scenarios.switches import SWITCHES, parse_assignment, variant_problems
from lab.support.text import did_you_mean

# ── Running the stacks

BOTH = "both"
STACK_CHOICES = (*ARRANGEMENTS, BOTH)
POLL_INTERVAL_S = 0.2

DESCRIPTIONS = {
    "sync-chain": "services ask each other over HTTP, and wait",
    "async-bus": "services tell each other by events, and keep copies",
    "request-reply": "services ask each other by events, and wait",
    "monolith": "one process, one database; asking is a function call",
}

Echo = Callable[[str], None]


async def run_up(
    which: str,
    folder: Path,
    echo: Echo,
    *,
    ports: Mapping[str, Mapping[str, int]] = BY_HAND_PORTS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Start `which` (an arrangement, or both twins) with data and logs in `folder`, run until
    cancelled, then end all processes.

    `echo` gets plain lines of text. `ports`: by arrangement and process; a free port where none is
    given. `options`: the switches of each stack.

    Raises ValueError for another `which`, LabCannotRun (PortTaken, StartFailed, ForkServerLost, …).
    """
    folder = folder.absolute()
    async with (
        running_stacks(which, folder, ports=ports, options=options) as controller,
        control_server(controller) as address,
    ):
        urls = {stack.name: stack.urls for stack in controller.stacks}
        with registered_instance(RunningLab(0, 0.0, address.url, address.token, urls, folder)):
            for line in welcome_lines(urls, folder):
                echo(line)
            try:
                await _report_exits(controller.stacks[0].supervisor, controller.stacks, echo)
            finally:
                echo("Ending everything ...")


@asynccontextmanager
async def running_stacks(
    which: str,
    folder: Path,
    *,
    ports: Mapping[str, Mapping[str, int]],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> AsyncIterator[FaultController]:
    """Start the stacks of `run_up` without control server and output, and yield their fault
    controller; all processes end with the context. Raises as `run_up`."""
    if which not in STACK_CHOICES:
        raise ValueError(f"There is no {which!r} to start; there are {', '.join(STACK_CHOICES)}.")
    names = list(TWINS) if which == BOTH else [which]
    supervisor = Supervisor(preload((options or {}).values()), folder)
    async with AsyncExitStack() as exit_stack:
        # All ports are bound before the first process starts: a taken port fails at once.
        stacks = [
            exit_stack.enter_context(
                Stack(
                    name,
                    ARRANGEMENTS[name],
                    supervisor,
                    folder,
                    options=(options or {}).get(name),
                    ports=ports.get(name),
                )
            )
            for name in names
        ]
        await exit_stack.enter_async_context(supervisor)
        await supervisor.start(*(program for stack in stacks for program in stack.programs))
        yield FaultController(stacks)


def welcome_lines(urls: Mapping[str, Mapping[str, str]], folder: Path) -> Iterator[str]:
    """The first output: the URLs, commands to try, and the folder. Lines have at most 80 columns,
    except for long paths."""
    yield "The lab is up. Ctrl-C ends it."
    for stack, target_urls in urls.items():
        yield ""
        yield f"{stack}: {DESCRIPTIONS[stack]}"
        yield from (f"  {target:<12}{url}" for target, url in target_urls.items())
        yield "  Try (with the id of your post in place of ID):"
        yield from (f"    {line}" for line in example_commands(target_urls))
    yield ""
    yield "To break something: `lab fault` in another terminal; `lab heal` mends it."
    yield "Logs and data are in"
    yield f"  {folder}"


def example_commands(urls: Mapping[str, str]) -> Iterator[str]:
    """Commands for a shell: a post, a comment on it, the feed, and the events on the bus."""
    curl = "curl -H content-type:application/json"
    yield f"""{curl} -d '{{"title":"Hello"}}' \\"""
    yield f"  {urls['posts']}/posts"
    yield f"""{curl} -d '{{"content":"Nice"}}' \\"""
    yield f"  {urls['comments']}/posts/ID/comments"
    yield f"curl {urls['query']}/feed"
    if BUS in urls:
        yield f"curl '{urls[BUS]}/events?after=0'"


async def _report_exits(supervisor: Supervisor, stacks: Sequence[Stack], echo: Echo) -> None:
    """Report programs that exit unexpectedly. Raises ForkServerLost."""
    programs = {
        stack.program_name(target): (stack.name, stack.arrangement.process_of(target), target)
        for stack in stacks
        for target in stack.arrangement.targets
    }
    reported = 0
    while True:
        for exited in supervisor.unexpected_exits()[reported:]:
            reported += 1
            stack, process, target = programs[exited.name]
            echo(f"! {stack} {process} {describe_exit(exited.status)}, without being stopped.")
            for line in exited.last_lines:
                echo(f"    {line}")
            echo(f"  `lab heal {target}` starts it again.")
        if not any(supervisor.alive(name) for name in programs):
            for name in programs:
                # All have exited, so this does not wait: it raises ForkServerLost if that is why.
                await supervisor.wait(name)
        await asyncio.sleep(POLL_INTERVAL_S)


# ── Switches


def settings_by_stack(
    assignments: Sequence[str], stacks: Sequence[str]
) -> Mapping[str, dict[str, Any]]:
    """The options of each stack, from `name=value` words; a stack gets only switches that it has.

    Raises ValueError, with a sentence, for a switch that no stack has or an impossible value.
    """
    given = dict(map(parse_assignment, assignments))
    known = dict.fromkeys(name for stack in stacks for name in SWITCHES.get(stack, {}))
    for name in given:
        if name not in known:
            raise ValueError(f"There is no switch {name!r} here. {did_you_mean(name, known)}")
    options_by_stack = {}
    for stack in stacks:
        options = {name: value for name, value in given.items() if name in SWITCHES.get(stack, {})}
        spec = VariantSpec(arrangement=stack, options=options)
        if problems := list(variant_problems(stack, stack, spec)):
            raise ValueError("\n".join(problems))
        options_by_stack[stack] = options
    return options_by_stack
