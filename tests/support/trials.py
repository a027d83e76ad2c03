"""Runs blogs that have a bug under the lab's own load, breaks them, and asks the lab's own checker.

Several run at once, in the same stretch of time and under the same schedule. What is waited for is
that the load has come to a phase, and in the end that all has settled; a blog that has a bug may
never settle, so it is given less patience.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.cluster.errors import NotReady
from lab.cluster.injector import Injection
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import ARRANGEMENTS
from lab.faults.kinds import parse_fault
from lab.load.samples import read_samples
from lab.scenarios.checker import check, read_holdings
from lab.scenarios.result import Data

MUTANTS = "tests.programs.mutants"
RATE = 40.0
MIX = {"read_feed": 2, "create_post": 3, "create_comment": 5}
PHASES = {"before": 0.8, "during": 0.9, "after": 1.2}
ENOUGH = 25  # requests sent while a fault acts
SEED_POSTS = 3
PATIENCE_S = 20.0
LESS_PATIENCE_S = 1.5
LOOK_EVERY_S = 0.01


@dataclass(frozen=True)
class Treatment:
    """What is done to a blog under load. A `kill` comes twice: as `during` begins, and as it ends;
    any other fault acts during `during`."""

    kind: str = ""
    target: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.target}".strip() or "calm"


CALM = Treatment()


@dataclass(frozen=True)
class Trial:
    """One blog. `bug`: a key of BUGS, put into the program `part`; "" for a blog without one.
    `figure`: the verdict that must find it."""

    arrangement: str
    treatment: Treatment = CALM
    options: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""
    bug: str = ""
    figure: str = ""

    def __str__(self) -> str:
        what = f"{self.part} {self.bug}" if self.bug else "as it is" if self.figure else "control"
        engine = f" on {self.options['bus']}" if "bus" in self.options else ""
        return f"{self.arrangement}{engine}: {what} ({self.treatment})"

    @property
    def control(self) -> "Trial":
        """The same without the bug."""
        return replace(self, part="", bug="", figure="")

    @property
    def patience_s(self) -> float:
        """How long it may take to get ready again, and to settle."""
        return LESS_PATIENCE_S if self.bug else PATIENCE_S

    def programs(self, stack: Stack) -> list[Program]:
        """The programs of the stack, one of them a mutant."""
        broken = f"{stack.name}.{self.part}"
        return [
            replace(one, module=MUTANTS, argv=(self.bug, one.module, *one.argv))
            if self.bug and one.name == broken
            else one
            for one in stack.programs
        ]


async def try_out(supervisor: Supervisor, folder: Path, trials: Sequence[Trial]) -> dict[str, Data]:
    """Run the trials, all at once, in an empty folder; what the checker found, by trial's name."""
    with ExitStack() as held:
        stacks = [
            held.enter_context(
                Stack(
                    f"{folder.name}-{number}",
                    ARRANGEMENTS[trial.arrangement],
                    supervisor,
                    folder,
                    options=trial.options,
                )
            )
            for number, trial in enumerate(trials)
        ]
        pairs = list(zip(trials, stacks, strict=True))
        programs = [one for trial, stack in pairs for one in trial.programs(stack)]
        try:
            await supervisor.start(*programs, ready_within_s=PATIENCE_S)
            seeds = await asyncio.gather(*(_seed_posts(stack) for stack in stacks))
            load = _load(folder, stacks, seeds)
            await supervisor.start(load)
            treated = [asyncio.create_task(_treat(*pair, folder)) for pair in pairs]
            await asyncio.gather(*treated)
            assert await supervisor.wait(load.name, PATIENCE_S) == 0, load.log.read_text()
            await asyncio.gather(*(stack.settle(trial.patience_s) for trial, stack in pairs))
            holdings = await asyncio.gather(*(read_holdings(stack) for stack in stacks))
        finally:
            alive = [one.name for one in programs if supervisor.alive(one.name)]
            await asyncio.gather(*map(supervisor.kill, alive))
    samples = read_samples(folder / "samples.csv")
    return {
        str(trial): check([one for one in samples if one.variant == stack.name], of)
        for (trial, stack), of in zip(pairs, holdings, strict=True)
    }


async def _seed_posts(stack: Stack) -> list[str]:
    ids = []
    for number in range(SEED_POSTS):
        body = {"title": f"A seed, number {number}"}
        answer = await stack.call("POST", stack.urls["posts"], "/posts", body)
        assert answer.status == 201, answer
        ids.append(str(answer.data["id"]))
    async with asyncio.timeout(PATIENCE_S):
        # Not all: a mutant may lose one for good, and refuse the comments on it.
        while not await _knows_one(stack, ids):  # noqa: ASYNC110 - a state of other processes
            await asyncio.sleep(LOOK_EVERY_S)
    return ids


async def _knows_one(stack: Stack, ids: Sequence[str]) -> bool:
    answers = [
        await stack.call("POST", stack.urls["comments"], f"/posts/{one}/comments", {"content": "!"})
        for one in ids
    ]
    return any(answer.ok for answer in answers)


def _load(folder: Path, stacks: Sequence[Stack], seeds: Sequence[Sequence[str]]) -> Program:
    plan = {
        **{"seed": 7, "rate": RATE, "mix": MIX, "at_once": ["comment_at_once"]},
        **{"timeout_s": 5, "settle_s": 2, "reader_delay_s": 0.3},
        "phases": [{"name": name, "seconds": seconds} for name, seconds in PHASES.items()],
        "variants": [
            {
                "name": stack.name,
                "urls": {name: stack.urls[name] for name in ("posts", "comments", "query")},
                "seed_posts": ids,
            }
            for stack, ids in zip(stacks, seeds, strict=True)
        ],
        "samples": str(folder / "samples.csv"),
        "progress": str(folder / "progress.ndjson"),
        "summary": str(folder / "load.json"),
    }
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    name = f"{folder.name}.load"
    return Program(name, "lab.load.generator", (str(path),), folder / "load.log", measures=True)


async def _treat(trial: Trial, stack: Stack, folder: Path) -> None:
    """Break it and mend it, as the load comes to the phases."""
    treatment = trial.treatment
    if treatment.kind == "kill":
        for phase in ("during", "after"):
            await _until(folder, stack, phase)
            await stack.supervisor.kill(stack.program(treatment.target))
            # A mutant may never be ready again, and is judged as it is.
            with suppress(*(NotReady,) * bool(trial.bug)):
                program = stack.program(treatment.target)
                await stack.supervisor.restart(program, trial.patience_s)
    elif treatment.kind:
        fault = parse_fault(treatment.kind, treatment.target, dict(treatment.options))
        injection = Injection(stack, fault, "the-fault")
        sent = await _until(folder, stack, "during")
        await injection.begin(seed=7)
        await _until(folder, stack, "after", sent + ENOUGH)
        await injection.end()
        assert injection.acted, injection.evidence


async def _until(folder: Path, stack: Stack, phase: str, sent: int = 0) -> int:
    """Wait until the load has come to a phase and has sent so much, or is over; how much it is."""
    awaited = [*PHASES, "settling"]
    awaited = awaited[awaited.index(phase) :]
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(OSError, IndexError, ValueError):
                last = json.loads((folder / "progress.ndjson").read_text().splitlines()[-1])
                count = int(last["variants"][stack.name]["sent"])
                if last["phase"] == "settling" or (last["phase"] in awaited and count >= sent):
                    return count
            await asyncio.sleep(LOOK_EVERY_S)
