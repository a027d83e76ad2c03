"""Searches for the smallest history that reaches a goal.

Histories come from a seeded generator, small ones first; a find is shrunk until nothing can be left
out. Smallest means: fewest deeds, then fewest writes, then shortest. A history depends on the
variant, the goal, the seed and its number, and on nothing else.
"""

import gc
import io
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from itertools import count
from time import perf_counter
from typing import TypeVar

from lab.domain.services import BUS, SERVICES
from lab.simulation.histories.disk import AFTER, BEFORE
from lab.simulation.histories.history import CLIENT, WRITES, Deed, History
from lab.simulation.histories.judge import OF_READERS, Goal, Judgement, judge
from lab.simulation.histories.recorder import Recorder
from lab.simulation.histories.sentence import verdict_of
from lab.simulation.histories.variant import Variant
from lab.simulation.histories.world import BUS_SERVICES, Stage, World

Value = TypeVar("Value")
MOST_WRITES, MOST_DEEDS = 10, 5
_COLLECT_EVERY = 200
_GAPS_MS = (0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 8.0)
_PAUSES_MS = (1_000.0, 3_000.0, 6_000.0, 11_000.0)
_CONSUMERS = ("comments", "moderation", "query")

# ── Generator


class Generator:
    """Draws histories for a variant, with reads if the goal needs them."""

    def __init__(self, variant: Variant, seed: int, goal: Goal) -> None:
        self._seed = seed
        self._with_reads, self._with_pauses = goal.needs_reads, goal.needs_pauses
        self._is_chain = variant.is_chain
        self._nodes = SERVICES if variant.is_chain else (BUS, *SERVICES)
        self._kinds: tuple[str, ...] = (
            *("crash",) * 3,
            *("crash point",) * 3,
            "restart",
            "partition",
            "slow",
            "heal",
            "power cut",
            "full disk",
            "clock",
        )
        if not variant.is_chain:
            self._kinds += ("duplicate", "drop", "reorder")
        # Behind a lost tail, each publisher keeps its order; no promise is made across publishers.
        # And an alarm is false only if the log has lost nothing.
        if (
            not variant.is_chain
            and variant.bus == "log"
            and goal.paths.isdisjoint(("out_of_order", "false_alarms"))
        ):
            self._kinds += ("restore",)
        # In the chain, a comment that is sent again may be judged again: the key's guarantee ends
        # at the service's own database. With a dual write, its handler waits for the bus.
        self._repeated: tuple[str, ...] = ()
        if variant.idempotency and (variant.is_chain or variant.outbox):
            self._repeated = ("post",) if variant.is_chain else WRITES
            self._kinds += ("repeat", "repeat")
        if self._with_reads:
            reads = 8 if goal.paths.issubset(OF_READERS) else 3
            self._kinds += (*("read",) * reads, "partition", "partition")
        self._random = random.Random()

    def history(self, number: int) -> list[Deed]:
        """The history with this number, from 0; the first ones are small."""
        self._random.seed(self._seed * 1_000_003 + number)
        most = 1 + min(number // 100, MOST_WRITES - 1)
        writes = 1 + self._below(most)
        others = self._below(2 + min(number // 60, MOST_DEEDS - 1))
        return self.draw(writes, others)

    def draw(self, writes: int, others: int) -> list[Deed]:
        """A history with so many writes and other deeds."""
        kinds = ["write"] * writes + ["other"] * others
        for last in range(len(kinds) - 1, 0, -1):  # random.shuffle may change between versions
            place = self._below(last + 1)
            kinds[last], kinds[place] = kinds[place], kinds[last]
        deeds: list[Deed] = []
        at_ms, write, posts = 0.0, 0, [0]
        for kind in kinds:
            at_ms += self._gap_ms()
            if kind == "other":
                if (deed := self._other(at_ms, deeds)) is not None:
                    deeds.append(deed)
                continue
            write += 1
            if self._below(3) == 0:
                deeds.append(Deed(at_ms, "post", "posts", write=write))
                posts.append(write)
                continue
            post = -1 if self._below(12) == 0 else posts[self._below(len(posts))]
            forbidden = self._below(4) == 0
            deeds.append(
                Deed(at_ms, "comment", "comments", write=write, post=post, forbidden=forbidden)
            )
        if self._with_reads and self._below(2):
            gap_ms = self._one_of(_PAUSES_MS) if self._with_pauses else self._gap_ms()
            deeds.append(Deed(at_ms + gap_ms, "read", "query"))
        elif self._is_chain and self._below(4) == 0:  # a call needs seconds to time out
            deeds.append(Deed(at_ms + self._one_of(_PAUSES_MS), "heal"))
        return deeds

    def _other(self, at_ms: float, before: Sequence[Deed]) -> Deed | None:
        kind = self._one_of(self._kinds)
        node = self._one_of(self._nodes)
        match kind:
            case "crash point":
                point = self._one_of((BEFORE, AFTER))
                return Deed(at_ms, "crash", node, point=point, count=1 + self._below(3))
            case "crash":
                return Deed(at_ms, "crash", node, point="now")
            case "restart":
                return Deed(at_ms, "restart", node)
            case "restore":
                return Deed(at_ms, "restore", BUS)
            case "power cut":
                return Deed(at_ms, "power cut", node)
            case "full disk":
                return Deed(at_ms, "full disk", node, count=1 + self._below(8))
            case "clock":
                return Deed(at_ms, "clock", node, ms=self._one_of((20.0, 1_000.0)))
            case "repeat":
                writes = [deed for deed in before if deed.kind in self._repeated]
                if not writes:
                    return None
                write = self._one_of(writes)
                return Deed(at_ms, "repeat", write.target, write=write.write)
            case "partition":
                peer = self._one_of(("", *self._nodes, CLIENT))
                return Deed(at_ms, "partition", node, peer="" if peer == node else peer)
            case "slow":
                return Deed(at_ms, "slow", node, ms=self._one_of((2.0, 20.0, 300.0, 3_000.0)))
            case "heal":
                return Deed(at_ms, "heal")
            case "read":
                return Deed(at_ms, "read", "query")
        consumer = self._one_of(_CONSUMERS)
        return Deed(at_ms, kind, consumer, count=1 + self._below(3))  # type: ignore[arg-type]

    def _gap_ms(self) -> float:
        if self._below(40) == 0:
            return self._one_of(_PAUSES_MS)
        return self._one_of(_GAPS_MS)

    def _below(self, limit: int) -> int:
        return int(self._random.random() * limit)

    def _one_of(self, values: Sequence[Value]) -> Value:
        return values[self._below(len(values))]


# ── Trying a history


class Lab:
    """The stage of one variant, and a count of the histories tried on it."""

    def __init__(self, variant: Variant) -> None:
        self.stage = Stage(variant)
        self.tried = 0

    def judge(self, deeds: Sequence[Deed]) -> Judgement:
        self.tried += 1
        if self.tried % _COLLECT_EVERY == 0:
            gc.collect()
        self.stage.restore()
        world = World(self.stage, deeds)
        try:
            world.live()
            return judge(world)
        finally:
            world.close()

    def record(self, deeds: Sequence[Deed], goal: Goal, seed: str) -> History:
        """The same history, with all that happened in it."""
        self.stage.restore()
        consumed = {
            name: {kind.type for kind in service.listeners}
            for name, service in BUS_SERVICES.items()
        }
        recorder = Recorder(World.write_of, consumed)
        world = World(self.stage, deeds, recorder)
        try:
            world.live()
            judgement = judge(world)
            return History(
                arrangement=self.stage.variant.arrangement,
                options=self.stage.variant.options,
                seed=seed,
                deeds=tuple(deeds),
                messages=tuple(recorder.messages),
                moments=tuple(recorder.moments),
                holdings=tuple(recorder.holdings),
                verdict=verdict_of(goal, judgement, deeds, world),
                lifelines=(CLIENT, *_order(world)),
                settled_ms=round(world.settled_s * 1_000, 3),
                end_ms=round(world.end_s * 1_000, 3),
            )
        finally:
            world.close()


def _order(world: World) -> tuple[str, ...]:
    """The lifelines from left to right: the bus between publishers and readers."""
    names = ("posts", "comments", BUS, "moderation", "query")
    return tuple(name for name in names if name in world.names)


@contextmanager
def laboratory(variant: Variant) -> Iterator[Lab]:
    """A world for each history; what the services write to stderr is dropped."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()  # what is there now is not looked at again
    gc.disable()  # a fifth of the time: each history leaves cycles, which are collected together
    try:
        with redirect_stderr(_Nowhere()):
            lab = Lab(variant)
            try:
                yield lab
            finally:
                lab.stage.close()
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


# ── Shrinking


def size_of(deeds: Sequence[Deed]) -> tuple[int, int, float, int]:
    """What is compared: deeds, writes, duration (ms), and how special the deeds are."""
    writes = sum(deed.kind in WRITES for deed in deeds)
    special = sum(
        deed.count + deed.forbidden + (deed.post != 0) + (deed.point not in ("", "now"))
        for deed in deeds
    )
    return len(deeds) - writes, writes, deeds[-1].at_ms if deeds else 0.0, special


def _renumbered(deeds: Sequence[Deed]) -> list[Deed]:
    """Numbers from 1, without gaps; a comment on a post that is gone belongs to the first one."""
    numbers = {0: 0, -1: -1}
    result = []
    for deed in deeds:
        if deed.kind in WRITES:
            numbers[deed.write] = len(numbers) - 1
            deed = replace(deed, write=numbers[deed.write], post=numbers.get(deed.post, 0))
        elif deed.write:
            deed = replace(deed, write=numbers.get(deed.write, 0))
        result.append(deed)
    return result


def _smaller(deeds: list[Deed]) -> Iterator[list[Deed]]:
    """Histories that are smaller than this one by a step, the largest steps first."""
    number = len(deeds)
    size = number // 2
    while size >= 1:
        for start in range(0, number, size):
            yield deeds[:start] + deeds[start + size :]
        size //= 2
    for index in range(number):
        before = deeds[index - 1].at_ms if index else 0.0
        gap = deeds[index].at_ms - before
        for shorter in (0.0, 1.0, gap // 2, *(gap - step for step in (1_000, 100, 10, 1))):
            if 0 <= shorter < gap:
                yield [
                    *deeds[:index],
                    *(replace(deed, at_ms=deed.at_ms - gap + shorter) for deed in deeds[index:]),
                ]
    for index, deed in enumerate(deeds):
        for change in ({"count": 1}, {"forbidden": False}, {"post": 0}, {"point": "now"}):
            (name, value) = next(iter(change.items()))
            if getattr(deed, name) not in (value, ""):
                changed = replace(deed, **change)
                yield [*deeds[:index], changed, *deeds[index + 1 :]]


def shrink(deeds: list[Deed], reaches: Callable[[Sequence[Deed]], bool]) -> list[Deed]:
    """The smallest history on the way down from this one that still `reaches` the goal."""
    known: set[tuple[Deed, ...]] = set()
    smallest = _renumbered(deeds)
    found = True
    while found:
        found = False
        for candidate in _smaller(smallest):
            candidate = _renumbered(candidate)
            if tuple(candidate) in known or size_of(candidate) >= size_of(smallest):
                continue
            known.add(tuple(candidate))
            if reaches(candidate):
                smallest, found = candidate, True
                break
    return smallest


# ── The search


@dataclass(frozen=True)
class Outcome:
    """`history` is None when none was found. `tried`: histories until the first find, `shrunk`:
    those tried to shrink it; `seconds`: of this machine."""

    history: History | None
    tried: int
    shrunk: int
    seconds: float


def search(
    goal: Goal,
    variant: Variant,
    *,
    seed: int = 1,
    first: int = 0,
    histories: int | None = None,
    seconds: float | None = None,
    progress: Callable[[int], None] = lambda tried: None,
) -> Outcome:
    """Try histories until one reaches the goal, or until so many or so long."""
    began_s = perf_counter()
    with laboratory(variant) as lab:
        generator = Generator(variant, seed, goal)
        for number in count(first):
            tried = number - first
            elapsed_s = perf_counter() - began_s
            if (histories is not None and tried >= histories) or (
                seconds is not None and elapsed_s > seconds
            ):
                return Outcome(None, tried, 0, elapsed_s)
            if tried % 100 == 0:
                progress(tried)
            deeds = generator.history(number)
            if not goal.is_reached(lab.judge(deeds)):
                continue
            lab.tried = 0
            smallest = shrink(deeds, lambda some: goal.is_reached(lab.judge(some)))
            history = lab.record(smallest, goal, f"{seed}:{number}")
            return Outcome(history, tried + 1, lab.tried, perf_counter() - began_s)
    raise AssertionError("the numbers never end")


def parse_seed(text: str) -> tuple[int, int]:
    """`7` or `7:123`: the seed, and the number of the first history. Raises ValueError."""
    seed, _, first = text.partition(":")
    if not (seed.isdecimal() and (first or "0").isdecimal()):
        raise ValueError(f"{text!r} is no seed. Expected a number such as 7, or 7:123.")
    return int(seed), int(first or 0)
