"""A space-time diagram as plain values: who sent what to whom, when, and what never arrived.

Time goes down, each participant is a *lifeline* (L. Lamport, *Time, clocks, and the ordering of
events in a distributed system*, Communications of the ACM 21, 1978). The rows keep the order of all
that happens and not the distances in time: a millisecond beside a second could not be read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

ArrowKind = Literal["request", "reply", "event"]
MarkKind = Literal["commit", "crash", "start", "good", "bad", "note"]


@dataclass(frozen=True, slots=True)
class Arrow:
    """What one lifeline sent to another; times in ms. `received_ms`: None if it never arrived, and
    `lost` says why."""

    kind: ArrowKind
    sender: str
    receiver: str
    sent_ms: float
    received_ms: float | None
    label: str
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at one lifeline."""

    kind: MarkKind
    lifeline: str
    at_ms: float
    label: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time of one lifeline: it is down, or a worker is held. `until_ms`: None if to the end."""

    kind: Literal["down", "held"]
    lifeline: str
    from_ms: float
    until_ms: float | None


class Step(NamedTuple):
    """One end of an arrow, a mark, or one end of a stretch, in its row."""

    row: int
    at_ms: float
    lifeline: str
    item: Arrow | Mark | Stretch
    is_end: bool


@dataclass(frozen=True, slots=True)
class Diagram:
    """`caption`: what it shows, in a sentence. Lifelines are drawn from left to right. In `groups`,
    each lifeline `GROUP/NAME` belongs to one of them."""

    title: str
    caption: str
    lifelines: tuple[str, ...]
    arrows: tuple[Arrow, ...] = ()
    marks: tuple[Mark, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    groups: tuple[str, ...] = ()

    def steps(self) -> list[Step]:
        """All that happens, in order, each in its row. What happens at the same time to different
        lifelines shares a row."""
        steps: list[Step] = []
        row, row_ms, taken = -1, float("-inf"), set[str]()
        for at_ms, lifeline, item, is_end in sorted(self._ends(), key=_by_time_and_cause):
            shares_row = isinstance(item, Stretch) and at_ms == row_ms
            if not shares_row and (at_ms > row_ms or lifeline in taken):
                row, row_ms, taken = row + 1, at_ms, set()
            taken.add(lifeline)
            steps.append(Step(max(row, 0), at_ms, lifeline, item, is_end))
        return steps

    def _ends(self) -> Iterator["End"]:
        for mark in self.marks:
            yield mark.at_ms, mark.lifeline, mark, False
        for arrow in self.arrows:
            yield arrow.sent_ms, arrow.sender, arrow, False
            if arrow.received_ms is not None:
                yield arrow.received_ms, arrow.receiver, arrow, True
        for stretch in self.stretches:
            yield stretch.from_ms, stretch.lifeline, stretch, False
            if stretch.until_ms is not None:
                yield stretch.until_ms, stretch.lifeline, stretch, True


def side_by_side(diagrams: Sequence[Diagram]) -> Diagram:
    """Several diagrams on one time axis, each a group of lifelines that has its title."""

    def within(diagram: Diagram) -> Diagram:
        group = f"{diagram.title}/"
        return replace(
            diagram,
            lifelines=tuple(group + name for name in diagram.lifelines),
            arrows=tuple(
                replace(one, sender=group + one.sender, receiver=group + one.receiver)
                for one in diagram.arrows
            ),
            marks=tuple(replace(one, lifeline=group + one.lifeline) for one in diagram.marks),
            stretches=tuple(
                replace(one, lifeline=group + one.lifeline) for one in diagram.stretches
            ),
        )

    parts = [within(diagram) for diagram in diagrams]
    return Diagram(
        " and ".join(diagram.title for diagram in diagrams),
        " ".join(f"{diagram.title}: {diagram.caption}" for diagram in diagrams),
        tuple(name for part in parts for name in part.lifelines),
        tuple(arrow for part in parts for arrow in part.arrows),
        tuple(mark for part in parts for mark in part.marks),
        tuple(stretch for part in parts for stretch in part.stretches),
        tuple(diagram.title for diagram in diagrams),
    )


End = tuple[float, str, Arrow | Mark | Stretch, bool]


def _by_time_and_cause(end: End) -> tuple[float, int]:
    """At one time, an arrival may cause a mark, and a mark what is sent."""
    at_ms, _, item, is_end = end
    return at_ms, 0 if is_end else 2 if isinstance(item, Arrow) else 1


def time_label(ms: float) -> str:
    """A time in as few characters as it needs: 3 ms, 0.25 ms, 12.4 s."""
    if ms < 1_000:
        return f"{ms:.3g} ms"
    return f"{ms / 1_000:.1f} s"
