"""`lab up`: runs one blog, or both twins, until Ctrl-C.

The processes are the same as in a scenario, but on fixed, memorable ports and without load:
requests come from curl, faults from `lab fault` in another terminal. `--set NAME=VALUE` gives
the switches of a variant.
"""

import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, preload
from lab.cluster.errors import how_it_ended
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.domain.services import BUS, BY_HAND_PORTS, TWINS
from lab.sandbox.control_server import control_server
from lab.sandbox.fault_controller import Switchboard
from lab.sandbox.instances import RunningLab, announced
from lab.scenarios.spec import VariantSpec
from lab.scenarios.switches import SWITCHES, variant_problems
from lab.support.text import did_you_mean

# ── Running the stacks

BOTH = "both"
WHICH = (*ARRANGEMENTS, BOTH)
LOOK_EVERY_S = 0.2

MEANS = {
    "sync-chain": "services ask each other over HTTP, and wait",
    "async-bus": "services tell each other by events, and keep copies",
    "request-reply": "services ask each other by events, and wait",
    "monolith": "one process, one database; asking is a function call",
}

Say = Callable[[str], None]


async def run_up(
    which: str,
    folder: Path,
    say: Say,
    *,
    ports: Mapping[str, Mapping[str, int]] = BY_HAND_PORTS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Start `which` (an arrangement, or both twins) with data and logs in `folder`, run until
    cancelled, then end all processes.

    `say` gets plain lines of text. `ports`: by arrangement and process; a free port where none is
    given. `options`: the switches of each stack.

    Raises ValueError for another `which`, LabCannotRun (PortTaken, StartFailed, NurseryLost, …).
    """
    folder = folder.absolute()
    async with (
        raised(which, folder, ports=ports, options=options) as board,
        control_server(board) as address,
    ):
        urls = {stack.name: stack.urls for stack in board.stacks}
        with announced(RunningLab(0, 0.0, address.url, address.token, urls, folder)):
            for line in welcome(urls, folder):
                say(line)
            try:
                await _watch(board.stacks[0].supervisor, board.stacks, say)
            finally:
                say("Ending everything ...")


@asynccontextmanager
async def raised(
    which: str,
    folder: Path,
    *,
    ports: Mapping[str, Mapping[str, int]],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> AsyncIterator[Switchboard]:
    """Start the stacks of `run_up` without control server and output, and yield their fault
    controller; all processes end with the context. Raises as `run_up`."""
    if which not in WHICH:
        raise ValueError(f"There is no {which!r} to start; there are {', '.join(WHICH)}.")
    names = list(TWINS) if which == BOTH else [which]
    supervisor = Supervisor(preload((options or {}).values()), folder)
    async with AsyncExitStack() as held:
        # All ports are bound before the first process starts: a taken port fails at once.
        stacks = [
            held.enter_context(
                Stack(
                    *(name, ARRANGEMENTS[name], supervisor, folder),
                    options=(options or {}).get(name),
                    ports=ports.get(name),
                )
            )
            for name in names
        ]
        await held.enter_async_context(supervisor)
        await supervisor.start(*(program for stack in stacks for program in stack.programs))
        yield Switchboard(stacks)


def welcome(urls: Mapping[str, Mapping[str, str]], folder: Path) -> Iterator[str]:
    """The first output: the URLs, commands to try, and the folder. Lines have at most 80 columns,
    except for long paths."""
    yield "The lab is up. Ctrl-C ends it."
    for stack, of in urls.items():
        yield ""
        yield f"{stack}: {MEANS[stack]}"
        yield from (f"  {target:<12}{url}" for target, url in of.items())
        yield "  Try (with the id of your post in place of ID):"
        yield from (f"    {line}" for line in examples(of))
    yield ""
    yield "To break something: `lab fault` in another terminal; `lab heal` mends it."
    yield "Logs and data are in"
    yield f"  {folder}"


def examples(urls: Mapping[str, str]) -> Iterator[str]:
    """Commands for a shell: a post, a comment on it, the feed, and the events on the bus."""
    send = "curl -H content-type:application/json"
    yield f"""{send} -d '{{"title":"Hello"}}' \\"""
    yield f"  {urls['posts']}/posts"
    yield f"""{send} -d '{{"content":"Nice"}}' \\"""
    yield f"  {urls['comments']}/posts/ID/comments"
    yield f"curl {urls['query']}/feed"
    if BUS in urls:
        yield f"curl '{urls[BUS]}/events?after=0'"


async def _watch(supervisor: Supervisor, stacks: Sequence[Stack], say: Say) -> None:
    """Report programs that exit unexpectedly. Raises NurseryLost."""
    programs = {
        stack.program(target): (stack.name, stack.arrangement.home(target), target)
        for stack in stacks
        for target in stack.arrangement.targets
    }
    told = 0
    while True:
        for exited in supervisor.unexpected_exits()[told:]:
            told += 1
            stack, process, target = programs[exited.name]
            say(f"! {stack} {process} {how_it_ended(exited.status)}, and nobody had told it to.")
            for line in exited.last_lines:
                say(f"    {line}")
            say(f"  `lab heal {target}` starts it again.")
        if not any(supervisor.alive(name) for name in programs):
            for name in programs:
                # All have exited, so this does not wait: it raises NurseryLost if that is why.
                await supervisor.wait(name)
        await asyncio.sleep(LOOK_EVERY_S)


# ── Switches


def settings_by_stack(words: Sequence[str], stacks: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """The options of each stack, from `name=value` words; a stack gets only switches that it has.

    Raises ValueError, with a sentence, for a switch that no stack has or an impossible value.
    """
    given = dict(map(_setting, words))
    known = dict.fromkeys(name for stack in stacks for name in SWITCHES.get(stack, {}))
    for name in given:
        if name not in known:
            raise ValueError(f"There is no switch {name!r} here. {did_you_mean(name, known)}")
    chosen = {}
    for stack in stacks:
        options = {name: value for name, value in given.items() if name in SWITCHES.get(stack, {})}
        spec = VariantSpec(arrangement=stack, options=options)
        if problems := list(variant_problems(stack, stack, spec)):
            raise ValueError("\n".join(problems))
        chosen[stack] = options
    return chosen


def _setting(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"--set {word!r}: expected NAME=VALUE, as dead_letter=true.")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value  # A bare word, as bus=nats.
