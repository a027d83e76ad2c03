"""One stretch of wall-clock time: stacks started, loaded, broken, settled, and read back."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.cluster.program import Exit
from lab.cluster.seeds import seed_posts
from lab.cluster.stack import Stack, start_all
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import ARRANGEMENTS, preload
from lab.foreign.cost import sidecar_cost
from lab.foreign.parts import PRELOAD as FOREIGN_PRELOAD
from lab.foreign.replaced import ReplacedStack
from lab.foreign.stack import ForeignStack
from lab.load.samples import Sample, read_samples, write_samples
from lab.scenarios.asks import read_asks
from lab.scenarios.caught import count_with_the_fault
from lab.scenarios.checker import CannotCheck, Holdings, check, read_holdings
from lab.scenarios.databases import look_again
from lab.scenarios.evaluate import variant_result
from lab.scenarios.foreign import ForeignVariant, ReplacingVariant, read_feed
from lab.scenarios.halted import read_halted
from lab.scenarios.lag import Reading, write_lag
from lab.scenarios.load_plan import SETTLE_WITHIN_S
from lab.scenarios.needs import read_needs
from lab.scenarios.newcomers import compare, tell_histories
from lab.scenarios.result import Load, SidecarCost, Variant
from lab.scenarios.scenario import Scenario
from lab.scenarios.timeline import WARM_UP
from lab.scenarios.under_load import Progress, UnderLoad


@dataclass(frozen=True)
class Stretch:
    """What was measured in it. `problems`: why what a variant holds could not be read."""

    variants: list[Variant]
    samples: list[Sample]
    load: Load
    readings: list[Reading]
    deaths: tuple[Exit, ...]
    problems: list[str]


async def go_through(scenario: Scenario, folder: Path, seed: int, progress: Progress) -> Stretch:
    """All variants of the scenario side by side, in a folder that is there. Raises LabCannotRun."""
    progress({"phase": "starting"})
    async with Supervisor(_preload(scenario), folder) as supervisor:
        with ExitStack() as held:
            stacks = [held.enter_context(stack) for stack in _stacks(scenario, supervisor, folder)]
            await start_all(stacks)
            await tell_histories(scenario, stacks)
            seeds = await asyncio.gather(*(seed_posts(stack, SETTLE_WITHIN_S) for stack in stacks))
            costs = {stack.name: await _cost(stack) for stack in stacks}
            happened = await UnderLoad(scenario, folder, seed, progress)(supervisor, stacks, seeds)
            progress({"phase": "checking"})
            await asyncio.gather(*(stack.settle(scenario.load.settle_s) for stack in stacks))
            held_by = await asyncio.gather(*(_holdings(stack) for stack in stacks))
            for stack in stacks:
                await compare(stack, happened.newcomers[stack.name])
            asks = {stack.name: await read_asks(stack) for stack in stacks}
            halted = {stack.name: await read_halted(stack) for stack in stacks}
            alarms = {stack.name: await stack.alarms() for stack in stacks}
            deaths = supervisor.unexpected_exits()
            await look_again(happened.seen, scenario.reach_in)
        progress({"phase": "stopping"})
    write_lag(folder / "lag.csv", happened.lag.readings)
    samples = read_samples(folder / "samples.csv")
    if count_with_the_fault(samples, scenario.timeline()):
        write_samples(folder / "samples.csv", samples)  # every figure can be worked out from it
    summary = json.loads((folder / "load.json").read_text())
    variants = []
    for stack, holdings, of in zip(stacks, held_by, happened.seen, strict=True):
        own = [sample for sample in samples if sample.variant == stack.name]
        variants.append(
            variant_result(
                scenario,
                stack.name,
                own,
                check(own, holdings) if isinstance(holdings, Holdings) else None,
                [one for one in happened.injections if one.stack is stack],
                warm_up_s=WARM_UP.seconds,
                deaths=deaths,
                alarms=alarms[stack.name],
                seen=of.keys(stack.data)
                | asks[stack.name]
                | halted[stack.name]
                | read_needs(folder, stack.name)
                | {
                    "lag": happened.lag.figures(scenario, stack.name),
                    "newcomers": happened.newcomers[stack.name],
                    "sidecar": costs[stack.name],
                },
            )
        )
    return Stretch(
        variants,
        samples,
        Load.model_validate({k: v for k, v in summary.items() if k in Load.model_fields}),
        happened.lag.readings,
        deaths,
        [str(why) for why in held_by if isinstance(why, CannotCheck)],
    )


def _preload(scenario: Scenario) -> tuple[str, ...]:
    foreign = not all(spec.ours for spec in scenario.variants.values())
    options = [spec.options for spec in scenario.variants.values()]
    return (*preload(options), *(FOREIGN_PRELOAD if foreign else ()))


def _stacks(scenario: Scenario, supervisor: Supervisor, folder: Path) -> Iterator[Stack]:
    for name, spec in scenario.variants.items():
        if isinstance(spec, ForeignVariant):
            yield ForeignStack(name, spec.target, supervisor, folder, bus=spec.its_bus)
        elif isinstance(spec, ReplacingVariant):
            yield ReplacedStack(
                *(name, spec.part, spec.target, supervisor, folder), options=spec.options
            )
        else:
            of = ARRANGEMENTS[spec.arrangement]
            yield Stack(name, of, supervisor, folder, options=spec.options)


async def _cost(stack: Stack) -> SidecarCost | None:
    if not isinstance(stack, ForeignStack):
        return None
    cost = await sidecar_cost(stack)
    return SidecarCost.model_validate(asdict(cost)) if cost else None


async def _holdings(stack: Stack) -> Holdings | CannotCheck:
    """What it holds, or why that can't be known: then the run isn't valid, but has a result."""
    try:
        if stack.arrangement.strangers or stack.arrangement.replaced:
            return await read_feed(stack)
        return await read_holdings(stack)
    except CannotCheck as error:
        return error
