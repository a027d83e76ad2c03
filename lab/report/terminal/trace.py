"""Traces as waterfalls in the terminal: when each service worked, and which one it waited for.

All traces share one time axis, so a short trace looks short. Above the line `answered` are the
spans that the client waited for; below it, the spans of consumers. A span waits while the spans
below it run.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.text import Text

from lab.report import formatting
from lab.report.formatting import TextFormat
from lab.report.tracing.waterfall import RequestTrace, Span

_LABEL_WIDTH = 34
_FIGURES_WIDTH = 14
_MIN_WIDTH, _MAX_WIDTH = 10, 60


@dataclass(frozen=True)
class _BarSigns:
    """The characters of a bar: full cell, left and right half, idle, event under way, moment."""

    full: str
    left: str
    right: str
    idle: str
    in_transit: str
    marker: str


_BLOCKS = _BarSigns("█", "▌", "▐", "░", "·", "◆")
_ASCII = _BarSigns("#", "#", "#", "-", ".", "*")
_MIN_WAIT_SHARE = 0.1
_MIN_WAIT_MS = 1.0
"""A wait is mentioned if it is longer than both this share of the trace and this time."""


@dataclass(frozen=True)
class _Axis:
    """A time axis from 0 to `end_ms` milliseconds, `width` characters wide."""

    end_ms: float
    width: int
    signs: _BarSigns

    def bar(self, from_ms: float, to_ms: float, idle_ms: float, published_ms: float | None) -> str:
        """A bar to the nearest half cell.

        It begins with `idle_ms` of idle time; dots lead from `published_ms`, the time of the event,
        to the bar.
        """
        first = self._half_cell(from_ms)
        last = max(first + 1, self._half_cell(to_ms))
        busy = self._half_cell(from_ms + idle_ms)
        transit_start = first if published_ms is None else self._half_cell(published_ms)
        signs, drawn = self.signs, ""
        for left in range(0, 2 * self.width, 2):
            right = left + 1
            if first <= left and right < min(busy, last):
                drawn += signs.idle
            elif first <= left < last or first <= right < last:
                whole = first <= left and right < last
                drawn += signs.full if whole else signs.left if left >= first else signs.right
            else:
                drawn += signs.in_transit if transit_start <= right and left < first else " "
        return drawn

    def marker_line(self, at_ms: float) -> str:
        """A line with a sign at one moment."""
        return (" " * (self._half_cell(at_ms) // 2) + self.signs.marker).ljust(self.width)

    def _half_cell(self, at_ms: float) -> int:
        share = at_ms / self.end_ms if self.end_ms > 0 else 0.0
        return min(max(0, round(share * 2 * self.width)), 2 * self.width - 1)


def show_traces(traces: Sequence[RequestTrace], console: Console) -> None:
    """Print the traces, one below the other."""
    fmt = TextFormat.for_console(console)
    width = min(max(_MIN_WIDTH, fmt.width - _LABEL_WIDTH - _FIGURES_WIDTH - 1), _MAX_WIDTH)
    end_ms = max(trace.total_ms for trace in traces)
    axis = _Axis(end_ms, width, _ASCII if fmt.ascii_only else _BLOCKS)
    blocks: list[RenderableType] = []
    for trace in traces:
        blocks += [*_waterfall(trace, axis, fmt), *_sentences(trace, fmt), Text()]
    console.print(Group(*blocks, *_legend(axis, traces)))


def _waterfall(trace: RequestTrace, axis: _Axis, fmt: TextFormat) -> Iterator[RenderableType]:
    head = f"{trace.variant}: {trace.request}, {trace.outcome}"
    yield fmt.text(head, "bold", limit=fmt.width)
    yield fmt.text(f"{trace.reason}; trace {trace.trace_id}", "dim", limit=fmt.width)
    scale = f"0{f'{formatting.ms(axis.end_ms)} ms':>{axis.width - 1}}"
    yield Text(f"{'':{_LABEL_WIDTH}}{scale}{'at':>7}{'took':>7}", "dim")
    before_answer, consumed = _split_at_answer(trace.steps)
    for span in before_answer:
        yield _span_row(trace, span, span.depth, axis, fmt)
    yield _marker_row(_outcome_word(trace), trace.answered_ms, axis)
    outermost = min((span.depth for span in consumed), default=0)
    for span in consumed:
        yield _span_row(trace, span, span.depth - outermost, axis, fmt)
    if trace.visible_ms is not None:
        yield _marker_row("visible: the feed shows it", trace.visible_ms, axis)


def _split_at_answer(spans: Iterable[Span]) -> tuple[list[Span], list[Span]]:
    """The spans before the answer, and the spans of consumers with all their descendants."""
    before_answer: list[Span] = []
    consumed: list[Span] = []
    consumer_ids: set[str] = set()
    for span in spans:
        if span.kind == "consumer" or span.parent_id in consumer_ids:
            consumer_ids.add(span.span_id)
            consumed.append(span)
        else:
            before_answer.append(span)
    return before_answer, consumed


def _span_row(trace: RequestTrace, span: Span, depth: int, axis: _Axis, fmt: TextFormat) -> Text:
    at_ms = trace.offset_ms(span.start_s)
    published_ms = None if span.published_s is None else trace.offset_ms(span.published_s)
    indent = "  " * depth
    label = indent + fmt.plain(_label(span), _LABEL_WIDTH - 1 - len(indent))
    error_style = "red" if span.error else ""
    bar = axis.bar(at_ms, at_ms + span.duration_ms, _idle_ms(span), published_ms)
    return Text.assemble(
        (label.ljust(_LABEL_WIDTH), error_style),
        (bar, error_style or ("cyan" if span.kind == "consumer" else "blue")),
        f"{formatting.ms(at_ms):>7}{formatting.ms(span.duration_ms):>7}",
    )


def _idle_ms(span: Span) -> float:
    return span.attribute("queued_ms") + span.attribute("held_ms")


def _outcome_word(trace: RequestTrace) -> str:
    """The outcome that the client saw, in one or two words."""
    error = trace.steps[0].error
    return "given up" if error == "timeout" else "failed" if error else "answered"


def _label(span: Span) -> str:
    error = f": {span.error}" if span.error else ""
    if span.callee:
        return f"asks {span.callee}{error}"
    if span.kind == "consumer":
        return f"{span.service} hears {span.name}"
    return f"{span.service}{error}" if span.depth < 2 else f"{span.service} {span.name}{error}"


def _marker_row(label: str, at_ms: float, axis: _Axis) -> Text:
    return Text(f"{label:{_LABEL_WIDTH}}{axis.marker_line(at_ms)}{formatting.ms(at_ms):>7}", "bold")


def _sentences(trace: RequestTrace, fmt: TextFormat) -> Iterator[Text]:
    before_answer, consumed = _split_at_answer(trace.steps)
    server_spans = [span for span in before_answer if span.kind == "server"]
    sentences = [
        *_wait_sentences(before_answer, server_spans),
        *_delay_sentences(trace, server_spans),
    ]
    first = server_spans[0] if server_spans else None
    if trace.steps[0].error and first and 200 <= first.attribute("status") < 300:
        at = formatting.ms(trace.offset_ms(first.end_s))
        sentences.append(
            f"The client had given up by then; {first.service} still completed it, at {at} ms."
        )
    if consumed:
        consumers = _join_names(dict.fromkeys(span.service for span in consumed))
        last_ms = formatting.ms(trace.offset_ms(max(span.end_s for span in consumed)))
        sentences.append(
            f"Nobody waited for {consumers}: they consumed its events, the last at {last_ms} ms."
        )
    yield fmt.text(" ".join(sentences))
    visible = (
        "" if trace.visible_ms is None else f", visible after {formatting.ms(trace.visible_ms)} ms"
    )
    outcome = _outcome_word(trace).capitalize()
    yield fmt.text(f"{outcome} after {formatting.ms(trace.answered_ms)} ms{visible}.", "bold")


def _delay_sentences(trace: RequestTrace, server_spans: Sequence[Span]) -> Iterator[str]:
    """Sentences on long waits: for a free worker, or because of an injected latency."""
    for span in server_spans:
        for name, phrase in (
            ("queued_ms", "waited for a free worker in"),
            ("held_ms", "was held by a latency in"),
        ):
            if span.attribute(name) > max(_MIN_WAIT_MS, _MIN_WAIT_SHARE * trace.total_ms):
                yield f"It {phrase} {span.service} for {formatting.ms(span.attribute(name))} ms."


def _wait_sentences(before_answer: Sequence[Span], server_spans: Sequence[Span]) -> Iterator[str]:
    """Sentences: which service the client waited for, and which ones each caller waited for."""
    if not server_spans:
        yield "The client waited, and no service recorded a span of it."
        return
    first = server_spans[0].service
    any_calls = False
    for caller in server_spans:
        calls = [span for span in before_answer if span.callee and span.parent_id == caller.span_id]
        if calls:
            callees = _join_names(
                f"{span.callee} ({formatting.ms(span.duration_ms)} ms)" for span in calls
            )
            begins = f"The client waited for {first}, and" if not any_calls else "And"
            any_calls = True
            yield f"{begins} {caller.service} waited for {callees}."
    if not any_calls:
        yield f"The client waited for {first}, and {first} for nobody."


def _join_names(names: Iterable[str]) -> str:
    *leading, last = list(names)
    return f"{', '.join(leading)} and {last}" if leading else last


def _legend(axis: _Axis, traces: Sequence[RequestTrace]) -> Iterator[Text]:
    spans = [span for trace in traces for span in trace.steps]
    bar_legend = f"{axis.signs.full} at work, or waiting for those below"
    if any(
        axis.signs.idle in axis.bar(0, span.duration_ms, _idle_ms(span), None) for span in spans
    ):
        bar_legend += f"   {axis.signs.idle} idle"
    if any(span.published_s is not None for span in spans):
        bar_legend += f"   {axis.signs.in_transit} published, in transit"
    yield Text(bar_legend, "dim")
    yield Text("at: ms from the client's beginning; took: ms from there on", "dim")
