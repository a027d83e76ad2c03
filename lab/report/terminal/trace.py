"""Traces as waterfalls in the terminal: when each service worked, and which one it waited for.

All traces share one time axis, so a short trace looks short. Above the line `answered` are the
spans that the client waited for; below it, the spans of consumers. A span waits while the spans
below it run.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.text import Text

from lab.report import formatting as cells
from lab.report.formatting import Look
from lab.report.tracing.waterfall import Step, Story

_LABEL = 34
_FIGURES = 14
_NARROWEST, _WIDEST = 10, 60


@dataclass(frozen=True)
class _Signs:
    """The characters of a bar: full cell, left and right half, idle, event under way, moment."""

    whole: str
    left: str
    right: str
    idle: str
    way: str
    moment: str


_BLOCKS = _Signs("█", "▌", "▐", "░", "·", "◆")
_ASCII = _Signs("#", "#", "#", "-", ".", "*")
_WORTH_SAYING = 0.1
_WORTH_SAYING_MS = 1.0
"""A wait is mentioned if it is longer than both this share of the trace and this time."""


@dataclass(frozen=True)
class _Axis:
    """A time axis from 0 to `end_ms` milliseconds, `cells` characters wide."""

    end_ms: float
    cells: int
    signs: _Signs

    def bar(self, from_ms: float, to_ms: float, idle_ms: float, told_ms: float | None) -> str:
        """A bar to the nearest half cell.

        It begins with `idle_ms` of idle time; dots lead from `told_ms`, the time of the event, to
        the bar.
        """
        first = self._half(from_ms)
        last = max(first + 1, self._half(to_ms))
        busy = self._half(from_ms + idle_ms)
        way = first if told_ms is None else self._half(told_ms)
        signs, drawn = self.signs, ""
        for left in range(0, 2 * self.cells, 2):
            right = left + 1
            if first <= left and right < min(busy, last):
                drawn += signs.idle
            elif first <= left < last or first <= right < last:
                whole = first <= left and right < last
                drawn += signs.whole if whole else signs.left if left >= first else signs.right
            else:
                drawn += signs.way if way <= right and left < first else " "
        return drawn

    def mark(self, at_ms: float) -> str:
        """A line with a sign at one moment."""
        return (" " * (self._half(at_ms) // 2) + self.signs.moment).ljust(self.cells)

    def _half(self, at_ms: float) -> int:
        share = at_ms / self.end_ms if self.end_ms > 0 else 0.0
        return min(max(0, round(share * 2 * self.cells)), 2 * self.cells - 1)


def show(stories: Sequence[Story], console: Console) -> None:
    """Print the traces, one below the other."""
    look = Look.of(console)
    width = min(max(_NARROWEST, look.width - _LABEL - _FIGURES - 1), _WIDEST)
    end_ms = max(story.whole_ms for story in stories)
    axis = _Axis(end_ms, width, _ASCII if look.ascii_only else _BLOCKS)
    blocks: list[RenderableType] = []
    for story in stories:
        blocks += [*_waterfall(story, axis, look), *_sentences(story, look), Text()]
    console.print(Group(*blocks, *_legend(axis, stories)))


def _waterfall(story: Story, axis: _Axis, look: Look) -> Iterator[RenderableType]:
    head = f"{story.variant}: {story.request}, {story.outcome}"
    yield look.text(head, "bold", limit=look.width)
    yield look.text(f"{story.why}; trace {story.trace}", "dim", limit=look.width)
    scale = f"0{f'{cells.ms(axis.end_ms)} ms':>{axis.cells - 1}}"
    yield Text(f"{'':{_LABEL}}{scale}{'at':>7}{'took':>7}", "dim")
    answer, aftermath = _parts(story.steps)
    for step in answer:
        yield _row(story, step, step.depth, axis, look)
    yield _moment(_end(story), story.answered_ms, axis)
    outermost = min((step.depth for step in aftermath), default=0)
    for step in aftermath:
        yield _row(story, step, step.depth - outermost, axis, look)
    if story.visible_ms is not None:
        yield _moment("visible: the feed shows it", story.visible_ms, axis)


def _parts(steps: Iterable[Step]) -> tuple[list[Step], list[Step]]:
    """The spans before the answer, and the spans of consumers with all their descendants."""
    answer: list[Step] = []
    aftermath: list[Step] = []
    told: set[str] = set()
    for step in steps:
        if step.kind == "consumer" or step.parent in told:
            told.add(step.span)
            aftermath.append(step)
        else:
            answer.append(step)
    return answer, aftermath


def _row(story: Story, step: Step, depth: int, axis: _Axis, look: Look) -> Text:
    at_ms = story.ms(step.at_s)
    told_ms = None if step.told_s is None else story.ms(step.told_s)
    indent = "  " * depth
    label = indent + look.plain(_label(step), _LABEL - 1 - len(indent))
    failed = "red" if step.failed else ""
    bar = axis.bar(at_ms, at_ms + step.ms, _idle_ms(step), told_ms)
    return Text.assemble(
        (label.ljust(_LABEL), failed),
        (bar, failed or ("cyan" if step.kind == "consumer" else "blue")),
        f"{cells.ms(at_ms):>7}{cells.ms(step.ms):>7}",
    )


def _idle_ms(step: Step) -> float:
    return step.noted("queued_ms") + step.noted("held_ms")


def _end(story: Story) -> str:
    """The outcome that the client saw, in one or two words."""
    failed = story.steps[0].failed
    return "given up" if failed == "timeout" else "failed" if failed else "answered"


def _label(step: Step) -> str:
    failed = f": {step.failed}" if step.failed else ""
    if step.whom:
        return f"asks {step.whom}{failed}"
    if step.kind == "consumer":
        return f"{step.service} hears {step.name}"
    return f"{step.service}{failed}" if step.depth < 2 else f"{step.service} {step.name}{failed}"


def _moment(says: str, at_ms: float, axis: _Axis) -> Text:
    return Text(f"{says:{_LABEL}}{axis.mark(at_ms)}{cells.ms(at_ms):>7}", "bold")


def _sentences(story: Story, look: Look) -> Iterator[Text]:
    answer, aftermath = _parts(story.steps)
    served = [step for step in answer if step.kind == "server"]
    said = [*_who_waited(answer, served), *_where_it_stood(story, served)]
    first = served[0] if served else None
    if story.steps[0].failed and first and 200 <= first.noted("status") < 300:
        at = cells.ms(story.ms(first.end_s))
        said.append(
            f"The client had gone by then; {first.service} did it all the same, by {at} ms."
        )
    if aftermath:
        heard = _listed(dict.fromkeys(step.service for step in aftermath))
        last_ms = cells.ms(story.ms(max(step.end_s for step in aftermath)))
        said.append(f"Nobody waited for {heard}: they heard of it, the last at {last_ms} ms.")
    yield look.text(" ".join(said))
    seen = "" if story.visible_ms is None else f", visible after {cells.ms(story.visible_ms)} ms"
    end = _end(story).capitalize()
    yield look.text(f"{end} after {cells.ms(story.answered_ms)} ms{seen}.", "bold")


def _where_it_stood(story: Story, served: Sequence[Step]) -> Iterator[str]:
    """Sentences on long waits: for a free worker, or because of an injected latency."""
    for step in served:
        for name, says in (
            ("queued_ms", "waited for a free worker in"),
            ("held_ms", "was held by a latency in"),
        ):
            if step.noted(name) > max(_WORTH_SAYING_MS, _WORTH_SAYING * story.whole_ms):
                yield f"It {says} {step.service} for {cells.ms(step.noted(name))} ms."


def _who_waited(answer: Sequence[Step], served: Sequence[Step]) -> Iterator[str]:
    """Sentences: which service the client waited for, and which ones each caller waited for."""
    if not served:
        yield "The client waited, and no service wrote down that it had heard of it."
        return
    first = served[0].service
    asked_any = False
    for one in served:
        asked = [step for step in answer if step.whom and step.parent == one.span]
        if asked:
            whom = _listed(f"{step.whom} ({cells.ms(step.ms)} ms)" for step in asked)
            begins = f"The client waited for {first}, and" if not asked_any else "And"
            asked_any = True
            yield f"{begins} {one.service} waited for {whom}."
    if not asked_any:
        yield f"The client waited for {first}, and {first} for nobody."


def _listed(names: Iterable[str]) -> str:
    *most, last = list(names)
    return f"{', '.join(most)} and {last}" if most else last


def _legend(axis: _Axis, stories: Sequence[Story]) -> Iterator[Text]:
    steps = [step for story in stories for step in story.steps]
    said = f"{axis.signs.whole} at work, or waiting for those below"
    if any(axis.signs.idle in axis.bar(0, step.ms, _idle_ms(step), None) for step in steps):
        said += f"   {axis.signs.idle} idle"
    if any(step.told_s is not None for step in steps):
        said += f"   {axis.signs.way} told, and on its way"
    yield Text(said, "dim")
    yield Text("at: ms from the client's beginning; took: ms from there on", "dim")
