"""The commentary: a sentence on the current figures, and the course's claim that it bears on.

Each pane is described by itself, in clauses: its reads, its writes, what readers do not see yet. A
clause states what was measured over the last seconds; it names a cause only if that service is
measured as down or hanging, or has an active fault, and the request depends on it. So the sentence
holds for any pair of arrangements. Two panes do the same work only if nothing is broken in either,
every request succeeds, and both feeds are fresh.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.live.broadcast import Broadcast
from lab.live.figures import FIGURES_WINDOW_S, ObservedFault, PaneFigures, measure_pane
from lab.live.panes import Pane
from lab.live.snapshots import TICK_MS, Tick

# ── Conditions

HEALTHY_SHARE, FAILING_SHARE, NONE_SHARE = 0.98, 0.9, 0.1
SLOW_MS, SLOW_FACTOR = 60.0, 4.0
CALM_MS = 250.0
MIN_QUEUE = 5
MAX_CLAUSES = 3  # for each pane: the page has three lines for both
BACKLOG_EVENTS = 20
STALE_AFTER_S = 1.0
REFUSING_KINDS = {"error": "which returns errors", "timeout": "which does not answer"}


def is_healthy(share: float | None) -> bool:
    """Whether almost all succeeded, or there was no response."""
    return share is None or share >= HEALTHY_SHARE


def is_failing(share: float | None) -> bool:
    """Whether clearly too few succeeded."""
    return share is not None and share < FAILING_SHARE


def reads_fail(pane: PaneFigures) -> bool:
    """Whether reads fail, or get no response while some wait for one."""
    return is_failing(pane.reads) or (pane.reads is None and pane.waiting > 0)


def is_stale(pane: PaneFigures) -> bool:
    """Whether readers get a feed that lacks writes of more than a second ago."""
    is_old = pane.feed_age_s >= STALE_AFTER_S and not pane.missing
    return pane.tells and is_old and not reads_fail(pane)


def is_calm(pane: PaneFigures) -> bool:
    """Whether nothing is broken, everything succeeds, and the feed is fresh."""
    backlog = max(pane.fullest_outbox[1], pane.slowest_consumer[1])
    return (
        pane.read_ms is not None
        and pane.read_ms < CALM_MS
        and all(is_healthy(share) for share in (pane.reads, pane.posts, pane.comments))
        and not reads_fail(pane)
        and not (pane.faults or pane.unavailable or pane.queues or pane.missing)
        and pane.feed_age_s < STALE_AFTER_S
        and backlog < BACKLOG_EVENTS
    )


def _is_slow(value_ms: float | None, other_ms: float | None) -> bool:
    return (
        value_ms is not None
        and value_ms > SLOW_MS
        and (other_ms is None or value_ms > SLOW_FACTOR * other_ms)
    )


def _slow_callee(pane: PaneFigures) -> ObservedFault | None:
    """The fault that makes reads as slow as they are, in a service that `query` calls."""
    for fault in pane.faults:
        is_called = fault.kind == "latency" and fault.target in pane.callees_of("query")
        if is_called and pane.read_ms is not None and pane.read_ms >= 0.8 * fault.ms:
            return fault
    return None


def _refusing_callee(pane: PaneFigures) -> tuple[str, str]:
    """A service that `query` calls in vain, and why; two empty texts if there is none."""
    for fault in pane.faults:
        if fault.target not in pane.callees_of("query"):
            continue
        if fault.kind in REFUSING_KINDS:
            return fault.target, REFUSING_KINDS[fault.kind]
        if fault.kind == "partition" and fault.sender == "query":
            return fault.target, "which it cannot reach"
    return "", ""


# ── Clauses


@dataclass(frozen=True)
class Clause:
    """A part of the sentence. `kind`: what it is about; two clauses of one kind differ only in
    their figures."""

    kind: str
    text: str


def describe_pane(pane: PaneFigures, other: PaneFigures) -> list[Clause]:
    """The clauses on a pane: on its reads first. `other`: the pane that it is compared with."""
    if pane.one_process and pane.unavailable:
        state = "is down" if pane.down else "hangs"
        return [Clause("process-gone", f"its one process {state}, so nothing is answered")]
    clauses = [_describe_reads(pane, other), *_describe_writes(pane, other)]
    if not reads_fail(pane):
        knows_all_posts = all(clause.kind != "unknown-posts" for clause in clauses if clause)
        clauses.append(_describe_freshness(pane, with_age=knows_all_posts))
    clauses.append(_describe_queue(pane))
    found = [clause for clause in clauses if clause is not None][:MAX_CLAUSES]
    if all(clause.kind == "reads-succeed" for clause in found):
        without_effect = _describe_fault_without_effect(pane)
        return [without_effect] if without_effect else found
    return found


def _describe_reads(pane: PaneFigures, other: PaneFigures) -> Clause | None:
    causes = [name for name in pane.path_of("query") if name in pane.unavailable]
    if reads_fail(pane):
        return _describe_failing_reads(pane, causes)
    if pane.reads is None:
        return None  # the load has no reads now
    if slow := _slow_callee(pane):
        text = f"a read takes {_ms(pane.read_ms)}, because it waits for `{slow.target}`"
        return Clause("reads-slow", text)
    if _is_slow(pane.read_ms, other.read_ms):
        return Clause("reads-slow", f"a read takes {_ms(pane.read_ms)}")
    if not is_healthy(pane.reads):
        return Clause("reads-differ", f"{_percent(pane.reads)} of reads succeed")
    return Clause("reads-succeed", f"reads succeed in {_ms(pane.read_ms)}")


def _describe_failing_reads(pane: PaneFigures, causes: Sequence[str]) -> Clause:
    outcome = "reads fail"
    if pane.reads is None:
        outcome = "no read is answered"
    elif pane.reads > NONE_SHARE:
        outcome = f"{_percent(1 - pane.reads)} of the reads of the last seconds failed"
    if "query" in causes:
        return Clause("reads-fail-at-query", f"`query` {_state(pane, ['query'])}, so {outcome}")
    if causes:
        cause = f"{_names(causes)} {_state(pane, causes)}"
        text = f"{cause}, so {outcome}, although `query` itself is up"
        return Clause("reads-fail-at-callee", text)
    callee, why = _refusing_callee(pane)
    if callee:
        return Clause("reads-fail-at-callee", f"{outcome}: a read needs `{callee}`, {why}")
    error = f" ({_error_text(pane.read_error)})" if pane.read_error else ""
    return Clause("reads-fail", outcome + error)


def _describe_writes(pane: PaneFigures, other: PaneFigures) -> list[Clause]:
    failing = [kind for kind in ("posts", "comments") if is_failing(getattr(pane, kind))]
    clauses = []
    unknown_posts = pane.tells and pane.comment_error == "http_404"
    if "comments" in failing and unknown_posts:
        failing.remove("comments")
        text = (
            f"{_percent(1 - (pane.comments or 0))} of comments get a 404, because `comments` has "
            "not heard of those posts yet"
        )
        clauses.append(Clause("unknown-posts", text))
    if failing:
        shares = [getattr(pane, kind) for kind in failing]
        outcome = f"new {' and '.join(failing)} fail"
        if max(shares) > NONE_SHARE:
            parts = [
                f"{_percent(1 - share)} of new {kind}"
                for share, kind in zip(shares, failing, strict=True)
            ]
            outcome = f"{' and '.join(parts)} failed"
        clauses.append(Clause("writes-fail", outcome))
        causes = _write_causes(pane, failing)
        if causes and not reads_fail(pane):
            text = f"{clauses[-1].text}: {_names(causes)} {_state(pane, causes)}"
            clauses[-1] = Clause("writes-fail", text)
    silent = [
        kind
        for kind in ("posts", "comments")
        if getattr(pane, kind) is None and pane.waiting and _write_causes(pane, [kind])
    ]
    if silent and not reads_fail(pane):
        causes = _write_causes(pane, silent)
        text = (
            f"new {' and '.join(silent)} get no response: {_names(causes)} {_state(pane, causes)}"
        )
        clauses.append(Clause("writes-silent", text))
    if not clauses and _is_slow(pane.answered_ms, other.answered_ms):
        clauses.append(Clause("writes-slow", f"a write is answered after {_ms(pane.answered_ms)}"))
    return clauses


def _write_causes(pane: PaneFigures, failing: Sequence[str]) -> list[str]:
    needed = [name for kind in failing for name in pane.path_of(kind)]
    return [name for name in dict.fromkeys(needed) if name in pane.unavailable]


def _describe_freshness(pane: PaneFigures, with_age: bool) -> Clause | None:
    if pane.missing:
        writes = "acknowledged write is" if pane.missing == 1 else "acknowledged writes are"
        text = f"{pane.missing} {writes} missing: nothing is on its way"
        return Clause("missing", text)
    outbox, unpublished = pane.fullest_outbox
    consumer, lag = pane.slowest_consumer
    age = f", and the oldest write that readers do not see is {pane.feed_age_s:.1f} s old"
    age = age if is_stale(pane) and with_age else ""
    if unpublished >= max(BACKLOG_EVENTS, lag):
        return Clause("outbox", f"{unpublished} events wait in the outbox of `{outbox}`{age}")
    if lag >= BACKLOG_EVENTS and consumer == "moderation":
        return Clause("lag", f"`moderation` is {lag} events behind: comments wait for its verdict")
    if lag >= BACKLOG_EVENTS:
        return Clause("lag", f"`{consumer}` is {lag} events behind{age}")
    if not age:
        return None
    if "moderation" in pane.unavailable:
        return Clause("stale", f"comments have waited {pane.feed_age_s:.1f} s for a verdict")
    return Clause("stale", age.removeprefix(", and "))


def _describe_queue(pane: PaneFigures) -> Clause | None:
    if not pane.queues or (pane.queues[0][1] < MIN_QUEUE and not reads_fail(pane)):
        return None
    for service, length in pane.queues:
        hanging = [name for name in pane.callees_of(service) if name in pane.hanging]
        if hanging:
            text = (
                f"every worker of `{service}` waits for {_names(hanging)}, and {length} requests "
                "wait for a worker"
            )
            return Clause("queue", text)
    service, length = pane.queues[0]
    text = f"{length} requests wait for a worker of `{service}`"
    if pane.healed_ago_s is not None:
        text = (
            f"healed {pane.healed_ago_s:.0f} s ago, but {length} requests still wait at `{service}`"
        )
    return Clause("queue", text)


def _describe_fault_without_effect(pane: PaneFigures) -> Clause | None:
    broken = list(dict.fromkeys((*pane.unavailable, *(fault.target for fault in pane.faults))))
    if not broken or pane.reads is None:
        return None
    state = _state(pane, broken) if set(broken) <= set(pane.unavailable) else "is degraded"
    if len(broken) > 1:
        state = "are down" if set(broken) <= set(pane.down) else "are degraded"
    text = f"reads succeed in {_ms(pane.read_ms)} although {_names(broken)} {state}"
    return Clause("no-effect", text)


def _names(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _state(pane: PaneFigures, names: Sequence[str]) -> str:
    if all(name in pane.down for name in names):
        return "is down" if len(names) == 1 else "are down"
    if all(name in pane.hanging for name in names):
        return "hangs" if len(names) == 1 else "hang"
    return "are unavailable"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.0f} %"


def _ms(value: float | None) -> str:
    return "an unknown time" if value is None else f"{value:.0f} ms"


def _error_text(name: str) -> str:
    known = {"timeout": "no answer in time", "refused": "connection refused"}
    return known.get(name, name.removeprefix("http_").replace("_", " "))


# ── Claims of the course

CLAIMS_ABOUT_ASKING = ("dependencies", "one-down", "whole-fails", "slowest-hop")
"""The claims about asking. For request-reply over the bus, `events-like-calls` replaces them: that
requests sent as events have the same problems as calls."""


def claim_on(pane: PaneFigures) -> str | None:
    """The claim that the figures of this pane bear on, None if there is none."""
    claim = _claim_on_copies(pane) if pane.tells else _claim_on_asking(pane)
    return "events-like-calls" if pane.by_events and claim in CLAIMS_ABOUT_ASKING else claim


def _claim_on_asking(pane: PaneFigures) -> str | None:
    callees = pane.callees_of("query")
    if reads_fail(pane) and "query" not in pane.unavailable:
        if pane.queues and (pane.reads is None or set(callees) & set(pane.hanging)):
            return "dependencies"
        if set(callees) & set(pane.unavailable):
            return "one-down"
        if _refusing_callee(pane)[0]:
            return "whole-fails"
    if not reads_fail(pane) and _slow_callee(pane):
        return "slowest-hop"
    needed = set(pane.callees_of("comments"))
    if is_failing(pane.comments) and needed & set(pane.unavailable):
        return "dependencies"
    return None


def _claim_on_copies(pane: PaneFigures) -> str | None:
    if reads_fail(pane) or pane.missing:
        return None
    if max(pane.fullest_outbox[1], pane.slowest_consumer[1]) >= BACKLOG_EVENTS:
        return "bus-passes-on"
    return "sharing-is-hard" if is_stale(pane) else None


# ── Commentator

SETTLED_AFTER_S = 1.0
REPEAT_AFTER_S = 4.0
"""Seconds before the same sentence is published again with new figures: viewers need time to take
it in."""
MIN_TICKS = 3
"""Ticks after a fault was added or removed, before they are described."""


def describe(left: PaneFigures, right: PaneFigures) -> tuple[str, str, str | None]:
    """The kinds of the clauses, the sentence, and the claim."""
    if is_calm(left) and is_calm(right):
        text = (
            f"Both do the same work. A read takes {_ms(left.read_ms)} in {left.name}, "
            f"{_ms(right.read_ms)} in {right.name}.{_visibility_note(left, right)}"
        )
        return "calm", text, None
    parts, kinds = [], []
    for pane, other in ((left, right), (right, left)):
        clauses = describe_pane(pane, other)
        kinds.append("+".join(clause.kind for clause in clauses))
        if clauses:
            parts.append(f"{pane.name}: {'; '.join(clause.text for clause in clauses)}.")
    ask_first = sorted((left, right), key=lambda pane: pane.tells)
    claims = [claim for pane in ask_first if (claim := claim_on(pane))]
    return " | ".join(kinds), " ".join(parts), claims[0] if claims else None


def _visibility_note(left: PaneFigures, right: PaneFigures) -> str:
    if left.visible_ms is None or right.visible_ms is None:
        return ""
    return f" Readers see a write after {_ms(left.visible_ms)} and {_ms(right.visible_ms)}."


class Commentator:
    """Watches the ticks of one start, and publishes a sentence when it changes."""

    def __init__(self, panes: Sequence[Pane], broadcast: Broadcast) -> None:
        self._panes, self._broadcast = panes, broadcast
        self._ticks: deque[Tick] = deque(maxlen=round(FIGURES_WINDOW_S * 1_000 / TICK_MS))
        self._faults: Sequence[dict[str, Any]] = ()
        self._healed_t: float | None = None
        self._last_kinds, self._repeat_at_s = "", 0.0
        self._too_early = self._ticks.maxlen or 0

    def add_tick(self, tick: Tick) -> None:
        """Add a tick; publish a sentence if its clauses are of other kinds now, or if the old
        figures are due for an update."""
        faults = self._broadcast.current_state["faults"]
        if faults != self._faults:
            self._healed_t = tick["t"] if len(faults) < len(self._faults) else None
            # Figures from before a change say nothing about now.
            self._faults, self._too_early = list(faults), MIN_TICKS
            self._ticks.clear()
        self._ticks.append(tick)
        if len(self._ticks) < self._too_early:
            return  # Too soon: the first requests after a start or a change are not typical.
        self._too_early = 0
        kinds, text, claim = describe(*(self._measure(pane, tick["t"]) for pane in self._panes))
        if kinds == self._last_kinds and tick["t"] < self._repeat_at_s:
            return
        # The first figures after a change mix before and after, so they are updated sooner.
        wait_s = REPEAT_AFTER_S if kinds == self._last_kinds else SETTLED_AFTER_S
        self._last_kinds, self._repeat_at_s = kinds, tick["t"] + wait_s
        if text:
            comment = {"rule": kinds, "says": text, "claim": claim}
            if comment != self._broadcast.current_state["seen"]:
                self._broadcast.set_state("seen", comment)

    def _measure(self, pane: Pane, t: float) -> PaneFigures:
        faults = [fault for fault in self._faults if fault["half"] in (None, pane.name)]
        healed_ago_s = None if faults or self._healed_t is None else t - self._healed_t
        pane_ticks = [tick["halves"][pane.name] for tick in self._ticks]
        return measure_pane(pane, pane_ticks, faults, healed_ago_s)
