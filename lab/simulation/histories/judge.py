"""Judges a history: the lab's own reader and checker count, a goal says which count is a find."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import SimpleNamespace
from typing import Any

from pydantic_core import from_json

from lab.cluster.control_client import ControlResponse
from lab.experiment.checker import CannotCheck, StoredState, check, read_stored_state
from lab.load.samples import Sample
from lab.results.expressions import Evaluator, parse
from lab.results.paths import ExpressionError
from lab.results.result import CheckerCounts
from lab.simulation.histories.buses import LogProcess
from lab.simulation.histories.world import ServiceProcess, World, split_query
from lab.support.text import did_you_mean

# ── Figures


class _WorldStack:
    """What the lab's reader calls: answers from the world's services, without a network."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.name = str(world.stage.variant)
        self.urls = {name: name for name in world.names}
        self.history_length = 0
        variant = world.stage.variant
        self.arrangement = SimpleNamespace(
            has_replayable_log=not variant.is_chain and variant.bus == "log"
        )

    async def call(self, method: str, target: str, path: str) -> ControlResponse:
        node = self._world.network.nodes[target]
        if isinstance(node, LogProcess):
            lines = node.log.read_lines(0, 100_000)
            return ControlResponse(200, "", None, b"\n".join(lines))
        assert isinstance(node, ServiceProcess)
        status, content, _ = node.respond(method, *split_query(path))
        return ControlResponse(status, "", from_json(content), content)


def stored_state(world: World) -> StoredState:
    """What the services of a world store, by the lab's own reader. Raises CannotCheck."""
    stored: list[StoredState] = []

    async def read() -> None:
        stored.append(await read_stored_state(_WorldStack(world)))  # type: ignore[arg-type]

    if world.stage.variant.is_chain:  # a feed asks the other services, and waits for them
        world.loop.call_soon(_drive, read())
        world.loop.run(lambda: bool(stored) or world.loop.next_timer_s() == inf)
    else:
        _drive(read())
    if not stored:
        raise CannotCheck("The services did not return their data.")
    return stored[0]


def _drive(work: Any) -> None:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    except CannotCheck:
        return
    raise AssertionError("a reader in a world waits for nothing")


@dataclass(frozen=True)
class Judgement:
    """`figures`: by name; None: not measured. `stored` is None if a service did not answer."""

    figures: Mapping[str, float | None]
    stored: StoredState | None
    samples: Mapping[int, Sample]


def judge(world: World) -> Judgement:
    """Count what the checker counts, and OF_THE_WORLD besides."""
    samples = {number: one for number, one in world.samples.items() if number}
    figures: dict[str, float | None] = {
        "stale_s": world.stale_s,
        "stuck": world.stuck + (not world.is_quiet),
        "false_alarms": 0 if world.has_lost_events else len(world.alerts),
        "asked": max(world.asked.values(), default=0),
        "sent_again": world.sent_again,
    }
    try:
        stored = stored_state(world)
    except CannotCheck:
        return Judgement({**figures, "stuck": 1.0}, None, samples)
    counts = check(
        samples.values(),
        stored,
        on_its_way=not world.is_quiet,
        seed_posts=(world.stage.seed_id,),
    )
    figures["refused_judged"] = sum(
        sample.definite and not sample.ok and stored.by_moderation[sample.token] > 0
        for sample in samples.values()
    )
    return Judgement(
        {**figures, **{name: getattr(counts, name) for name in COUNTS}}, stored, samples
    )


COUNTS = tuple(name for name in CheckerCounts.model_fields if name != "visible_ms")
OF_THE_WORLD = (
    "stale_s",  # by how much the oldest write that a feed lacked was older than the request
    "stuck",  # services that wait behind an event for ever
    "false_alarms",  # alerts that the log has lost events, which it has not
    "refused_judged",  # writes that surely were not done, and have a verdict
    "asked",  # how often one service requested the same of another, at most
    "sent_again",  # events that a publisher sent again though the bus had acknowledged them
)
FIGURES = (*COUNTS, *OF_THE_WORLD)

# ── Goals

_EXPRESSIONS = {
    "lost": "lost + missing > 0",
    "missing": "missing > 0",
    "doubled": "duplicated > 0",
    "diverged": "diverged > 0",
    "out-of-order": "out_of_order > 0",
    "refused-kept": "refused_kept > 0",
    "stuck": "stuck > 0",
}
GOALS = (*_EXPRESSIONS, "stale:5s", "any")
_ANY = (
    "lost + duplicated + out_of_order + refused_kept + stuck + altered + misplaced + misjudged > 0 "
    "or missing > 0 or diverged > 0 or orphaned > 0 or phantoms > 0 or undecided > 0 "
    "or unmonotonic > 0 or false_alarms + refused_judged > 0"
)
"""What must never happen in a shipped configuration."""
OF_READERS = ("stale_s", "resurrected", "unmonotonic")
_STALE = re.compile(r"stale:(\d+(?:\.\d+)?)s")


class Goal:
    """What is searched for. Raises ValueError for what is neither a name nor an expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        if stale := _STALE.fullmatch(text):
            expression = f"stale_s >= {stale[1]}"
        elif text.startswith("stale:"):
            raise ValueError(f"{text!r} is no goal: expected seconds, as in stale:5s.")
        elif text == "any":
            expression = _ANY
        else:
            expression = _EXPRESSIONS.get(text, text)
        try:
            self._tree, self._names = parse(expression)
            self.paths = set(self._names.values())
            unknown = [name for name in sorted(self.paths) if name not in FIGURES]
            if unknown:
                raise ValueError(
                    f"{unknown[0]!r} is neither a goal nor a figure of the checker. Goals: "
                    f"{', '.join(GOALS)}. {did_you_mean(unknown[0], [*GOALS, *FIGURES])}"
                )
            Evaluator(dict.fromkeys(self._names, 1.0)).truth(self._tree)
        except ExpressionError as error:
            raise ValueError(
                f"{text!r} is no goal: {str(error).rstrip('.')}. Goals: {', '.join(GOALS)}; or an "
                "expression such as: missing > 1"
            ) from None

    def is_reached(self, judgement: Judgement) -> bool:
        values = {name: judgement.figures.get(path) for name, path in self._names.items()}
        return Evaluator(values).truth(self._tree) is True

    @property
    def needs_reads(self) -> bool:
        """Whether what a reader sees decides it."""
        return not self.paths.isdisjoint(OF_READERS)

    @property
    def needs_pauses(self) -> bool:
        """Whether seconds have to pass."""
        return "stale_s" in self.paths
