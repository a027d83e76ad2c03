"""Each resilience pattern of a caller by itself, around a transport that the test scripts.

A switch that does nothing is an easy bug to miss. So each test shows the behaviour that the switch
changes, and the counter that reports it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lab.cluster.arrangements import ARRANGEMENTS, CALLER_SWITCHES, PRELOAD, build_programs, preload
from lab.domain.errors import (
    BadGateway,
    DeadlineExceeded,
    DependencyFailed,
    Invalid,
    NotAsked,
    NotFound,
    TimedOut,
    Unreachable,
)
from lab.domain.model import CommentDraft
from lab.scenarios.spec import VariantSpec
from lab.scenarios.switches import SWITCHES, variant_problems
from lab.service import deadline, http
from lab.service.counters import CallCounters
from lab.sync_chain.ask.fan_out import FanOut
from lab.sync_chain.ask.http import Transport
from lab.sync_chain.comments import moderate
from lab.sync_chain.comments import service as comments
from lab.sync_chain.resilience.breaker import Breaker
from lab.sync_chain.resilience.bulkhead import Bulkhead
from lab.sync_chain.resilience.fallback import Fallback
from lab.sync_chain.resilience.hedge import Hedge
from lab.sync_chain.resilience.layers import ResilienceOptions, wrap
from lab.sync_chain.resilience.retries import LONGEST_WAIT_S, Retries, RetryBudget
from tests.support.laboratory import PATIENCE_S, eventually

LONG_S = 3_600.0


class ScriptedTransport:
    """A transport that executes a list step by step and then repeats its last entry.

    An exception is raised, an Event is awaited (and then answered), anything else is the answer.
    """

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.requests: list[tuple[str, str, str]] = []
        self._lock = threading.Lock()

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        with self._lock:
            step = self.steps[min(len(self.requests), len(self.steps) - 1)]
            self.requests.append((callee, method, path))
        if isinstance(step, threading.Event):
            assert step.wait(PATIENCE_S)
        if isinstance(step, Exception):
            raise step
        return step


def ask(transport: Transport, callee: str = "comments", method: str = "GET") -> Any:
    return transport(callee, method, "/it", None, {})


@contextmanager
def ask_in_parallel(
    transport: Transport, peer: ScriptedTransport, times: int = 1
) -> Iterator[list[Future[Any]]]:
    """Inside the block `times` calls have reached the peer; after it they have their answers."""
    with ThreadPoolExecutor(times) as pool:
        already = len(peer.requests)
        try:
            calls = [pool.submit(ask, transport) for _ in range(times)]
            eventually(lambda: len(peer.requests) >= already + times, "the questions under way")
            yield calls
        finally:
            for does in peer.steps:
                if isinstance(does, threading.Event):
                    does.set()
        for question in calls:
            question.result(PATIENCE_S)


def read_counters(tally: CallCounters, callee: str = "comments") -> dict[str, int]:
    """The counters that are not zero."""
    return {kind: count for kind, count in tally.snapshot().get(callee, {}).items() if count}


@pytest.fixture
def tally() -> CallCounters:
    return CallCounters()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, in seconds; the tests do not really wait."""
    waited: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waited.append)
    return waited


@pytest.fixture
def in_a_request() -> Iterator[Callable[[float], None]]:
    """Yields a function that sets a deadline that many seconds from now (negative: in the past);
    the deadline is removed after the block."""

    def begin(left_s: float) -> None:
        deadline._current_at_s.set(deadline.time.perf_counter() + left_s)

    yield begin
    deadline.set_current(None)


# ── All patterns


def test_the_layers_stand_in_the_documented_order(tally: CallCounters) -> None:
    wire = ScriptedTransport("answer")
    assert wrap(wire, ResilienceOptions(), tally, 8, {"comments": []}) is wire
    every = ResilienceOptions(
        1, "none", 0.1, breaker=True, bulkhead=True, hedge_ms=50, fallback=True
    )
    layer: Any = wrap(wire, every, tally, 8, {})
    order = []
    while layer is not wire:
        order.append(type(layer))
        layer = layer._inner
    assert order == [Fallback, Hedge, Retries, Bulkhead, Breaker]


# ── Retries, backoff, retry_budget

FAILURES = [Unreachable("gone"), TimedOut("slow"), BadGateway("no", definite=False)]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_failed_question_is_asked_again_though_perhaps_done(
    tally: CallCounters, waits: list[float], failure: DependencyFailed, method: str
) -> None:
    peer = ScriptedTransport(failure, failure, "answer")
    assert ask(Retries(peer, tally, 2, "none", None), method=method) == "answer"
    assert (len(peer.requests), read_counters(tally)) == (3, {"retried": 2})


def test_after_the_last_attempt_its_failure_is_raised(
    tally: CallCounters, waits: list[float]
) -> None:
    peer = ScriptedTransport(TimedOut("first"), TimedOut("second"), TimedOut("third"))
    with pytest.raises(TimedOut, match="third"):
        ask(Retries(peer, tally, 2, "none", None))
    assert (len(peer.requests), read_counters(tally)) == (3, {"retried": 2})


@pytest.mark.parametrize("answer", [NotFound("no such post"), NotAsked("open"), ValueError("bug")])
def test_an_answer_and_a_refusal_of_our_own_are_final(
    tally: CallCounters, answer: Exception
) -> None:
    peer = ScriptedTransport(answer)
    with pytest.raises(type(answer)):
        ask(Retries(peer, tally, 5, "none", None))
    assert (len(peer.requests), read_counters(tally)) == (1, {})


def test_after_the_deadline_there_is_no_retry(
    tally: CallCounters, in_a_request: Callable[[float], None]
) -> None:
    in_a_request(-1)
    peer = ScriptedTransport(TimedOut("slow"))
    with pytest.raises(TimedOut):
        ask(Retries(peer, tally, 5, "none", None))
    assert len(peer.requests) == 1


def measure_waits(
    waits: list[float], tally: CallCounters, backoff: str, retries: int = 6
) -> list[float]:
    waits.clear()
    with pytest.raises(TimedOut):
        ask(Retries(ScriptedTransport(TimedOut("slow")), tally, retries, backoff, None))
    return list(waits)


def test_backoff_grows_to_a_limit_and_jitter_spreads_it(
    tally: CallCounters, waits: list[float]
) -> None:
    assert measure_waits(waits, tally, "none") == [0] * 6
    growing = measure_waits(waits, tally, "exponential")
    assert growing == [0.05, 0.1, 0.2, 0.4, 0.8, LONGEST_WAIT_S]
    firsts = {measure_waits(waits, tally, "jitter", retries=1)[0] for _ in range(20)}
    assert len(firsts) > 10
    assert all(0.05 <= wait <= 0.15 for wait in firsts)


def test_a_budget_limits_retries_to_its_share(tally: CallCounters, waits: list[float]) -> None:
    peer = ScriptedTransport(TimedOut("slow"))
    retrying = Retries(peer, tally, 3, "none", RetryBudget(0.1))
    for _ in range(100):
        with pytest.raises(TimedOut):
            ask(retrying)
    assert (len(peer.requests), read_counters(tally)["retried"]) == (110, 10)
    assert read_counters(tally)["budget_denied"] == 100, (
        "each question had something denied in the end"
    )


def test_a_budget_pays_for_single_failures_not_for_a_storm() -> None:
    budget = RetryBudget(0.1)
    assert not budget.spend()
    for _ in range(10):
        budget.earn()
    assert budget.spend()
    assert not budget.spend()
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 10


# ── Breaker


def fail_repeatedly(transport: Transport, times: int, callee: str = "comments") -> None:
    for _ in range(times):
        with pytest.raises(TimedOut):
            ask(transport, callee)


def test_five_failures_in_a_row_open_that_one_circuit(tally: CallCounters) -> None:
    peer = ScriptedTransport(TimedOut("slow"))
    breaker = Breaker(peer, tally, open_s=LONG_S)
    fail_repeatedly(breaker, 5)
    fail_repeatedly(breaker, 4, "posts")
    with pytest.raises(NotAsked, match="breaker for comments is open") as caught:
        ask(breaker)
    assert caught.value.definite
    assert (len(peer.requests), read_counters(tally)) == (9, {"opened": 1, "broken": 1})


def test_any_answer_in_between_starts_the_count_anew(tally: CallCounters) -> None:
    four = [TimedOut("slow")] * 4
    breaker = Breaker(
        ScriptedTransport(*four, NotFound("no such post"), *four, "answer"), tally, open_s=LONG_S
    )
    fail_repeatedly(breaker, 4)
    with pytest.raises(NotFound):
        ask(breaker)
    fail_repeatedly(breaker, 4)
    assert ask(breaker) == "answer"
    assert read_counters(tally) == {}


@pytest.mark.parametrize(("then", "opened"), [("answer", 1), (TimedOut("slow"), 3)])
def test_a_trial_closes_the_circuit_or_opens_it_again(
    tally: CallCounters, then: Any, opened: int
) -> None:
    breaker = Breaker(ScriptedTransport(*[TimedOut("slow")] * 5, then), tally, open_s=0)
    fail_repeatedly(breaker, 5)
    for _ in range(2):  # each is a failing trial: the circuit stays open for 0 s
        if then == "answer":
            assert ask(breaker) == "answer"
        else:
            fail_repeatedly(breaker, 1)
    assert read_counters(tally) == {"opened": opened}


def test_only_one_trial_is_made_at_a_time(tally: CallCounters) -> None:
    peer = ScriptedTransport(*[TimedOut("slow")] * 5, threading.Event())
    breaker = Breaker(peer, tally, open_s=0)
    fail_repeatedly(breaker, 5)
    with ask_in_parallel(breaker, peer), pytest.raises(NotAsked):
        ask(breaker)
    ask(breaker)
    assert read_counters(tally) == {"opened": 1, "broken": 1}


def test_a_closed_circuit_lets_all_workers_ask_at_once(tally: CallCounters) -> None:
    peer = ScriptedTransport(threading.Event())
    with ask_in_parallel(Breaker(peer, tally), peer, times=8) as questions:
        assert not any(question.done() for question in questions)


# ── Bulkhead


def test_a_full_bulkhead_refuses_the_next_question(tally: CallCounters) -> None:
    peer = ScriptedTransport(threading.Event(), threading.Event(), "answer")
    bulkhead = Bulkhead(peer, tally, permits=2)
    with ask_in_parallel(bulkhead, peer, times=2):
        with pytest.raises(NotAsked, match="bulkhead for comments is full") as caught:
            ask(bulkhead)
        assert caught.value.definite
        assert ask(bulkhead, "posts") == "answer"
    assert ask(bulkhead) == "answer"
    assert (len(peer.requests), read_counters(tally)) == (4, {"bulkhead_refused": 1})
    fail_repeatedly(
        Bulkhead(ScriptedTransport(TimedOut("slow")), tally, permits=1), 3
    )  # each gives its place back


def test_a_full_bulkhead_opens_no_breaker(tally: CallCounters) -> None:
    peer = ScriptedTransport(threading.Event())
    both = wrap(
        peer, ResilienceOptions(breaker=True, bulkhead=True), tally, workers=2, fallbacks={}
    )
    with ask_in_parallel(both, peer):
        for _ in range(20):
            with pytest.raises(NotAsked, match="bulkhead"):
                ask(both)
    ask(both)
    assert read_counters(tally) == {"bulkhead_refused": 20}


# ── Hedge


@pytest.mark.parametrize(("method", "after_s"), [("GET", PATIENCE_S), ("POST", 0)])
def test_an_answer_in_time_and_a_change_are_not_hedged(
    tally: CallCounters, method: str, after_s: float
) -> None:
    peer = ScriptedTransport("answer")
    assert ask(Hedge(peer, tally, after_s=after_s), method=method) == "answer"
    assert (len(peer.requests), read_counters(tally)) == (1, {})


def test_a_slow_answer_is_overtaken_by_a_second_one(tally: CallCounters) -> None:
    never = threading.Event()
    peer = ScriptedTransport(never, "second")
    try:
        assert ask(Hedge(peer, tally, after_s=0.01)) == "second"
    finally:
        never.set()
    assert read_counters(tally) == {"hedged": 1, "hedge_won": 1}


@pytest.mark.parametrize("second", ["slow", "failed"])
def test_the_first_question_still_wins_over_a_second(tally: CallCounters, second: str) -> None:
    first, never = threading.Event(), threading.Event()
    peer = ScriptedTransport(first, never if second == "slow" else Unreachable("gone"))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, Hedge(peer, tally, after_s=0.01))
        eventually(lambda: len(peer.requests) == 2, "the second question")
        first.set()
        assert answer.result(PATIENCE_S) is first
    never.set()
    assert read_counters(tally) == {"hedged": 1}


def test_the_second_question_belongs_to_the_same_request(
    tally: CallCounters, in_a_request: Callable[[float], None]
) -> None:
    in_a_request(LONG_S)
    first = threading.Event()
    lefts: list[float | None] = []

    def transport(*_: Any) -> str:
        lefts.append(deadline.remaining_s())
        if len(lefts) == 1:
            assert first.wait(PATIENCE_S)
        return "answer"

    try:
        assert ask(Hedge(transport, tally, after_s=0.01)) == "answer"
    finally:
        first.set()
    assert len(lefts) == 2
    assert None not in lefts


# ── Fallback


def test_only_what_may_be_missing_is_left_out_and_marked(tally: CallCounters) -> None:
    for failure, instead in ((Unreachable("gone"), "posts"), (NotFound("no post"), "comments")):
        with pytest.raises(type(failure)):
            ask(Fallback(ScriptedTransport(failure), tally, {instead: []}))
    assert (http.degraded_by(), read_counters(tally)) == ("", {})
    try:
        assert ask(Fallback(ScriptedTransport(Unreachable("gone")), tally, {"comments": []})) == []
        assert http.degraded_by() == "comments"
    finally:
        http.mark_degraded("")
    assert read_counters(tally) == {"fell_back": 1}


@pytest.mark.parametrize("failing", [(0,), (3,), (0, 1, 2, 3)])
def test_what_one_of_several_requests_left_out_is_marked(
    tally: CallCounters, failing: tuple[int, ...]
) -> None:
    def transport(*request: Any) -> list[str]:
        ids = request[-1]["post_ids"]
        if int(ids) in failing:
            raise Unreachable("gone")
        return [ids]

    query = {"post_ids": "0,1,2,3"}
    feed = FanOut(Fallback(transport, tally, {"comments": []}), width=4, workers=1)
    try:
        rows = feed("comments", "GET", "/comments", None, query)
        assert rows == [str(one) for one in range(4) if one not in failing]
        assert http.degraded_by() == "comments"
    finally:
        http.mark_degraded("")


# ── Deadline


@pytest.mark.parametrize("header", ["", "-1", "1.5", "1e3", "123456789", "٣", "soon"])
def test_a_deadline_that_can_not_be_meant_is_refused(header: str) -> None:
    with pytest.raises(Invalid) as caught:
        deadline.parse_header(header)
    assert caught.value.field == "Request-Deadline-Ms"


def test_a_timeout_is_no_longer_than_the_deadline(in_a_request: Callable[[float], None]) -> None:
    assert (deadline.parse_header(None), deadline.remaining_s(), deadline.cap(5)) == (None, None, 5)
    in_a_request(LONG_S)
    assert (deadline.cap(5), deadline.expired()) == (5, False)
    assert 0 < deadline.cap(2 * LONG_S) <= LONG_S
    in_a_request(-2)
    assert (deadline.cap(5), deadline.expired()) == (0.001, True)
    with pytest.raises(DeadlineExceeded) as caught:
        deadline.check()
    assert caught.value.definite


def test_after_the_deadline_a_handler_asks_no_service(
    monkeypatch: pytest.MonkeyPatch, in_a_request: Callable[[float], None]
) -> None:
    peer = ScriptedTransport({"status": "approved"})
    monkeypatch.setattr(comments, "transport", peer)
    assert moderate(CommentDraft(content="fine")) == "approved"
    in_a_request(-1)
    with pytest.raises(DeadlineExceeded, match="moderation was not asked"):
        moderate(CommentDraft(content="fine"))
    assert len(peer.requests) == 1


# ── From the switches to the programs

ON: dict[str, Any] = {
    "timeout_ms": 500,
    "deadline": True,
    "retries": 2,
    "backoff": "jitter",
    "retry_budget": True,
    "breaker": True,
    "bulkhead": True,
    "hedge": 50,
    "fallback": True,
}
ARGUMENTS = (
    "--timeout-ms 500 --deadline --retries 2 --backoff jitter --retry-budget "
    "--breaker --bulkhead --hedge 50 --fallback"
)


@pytest.mark.parametrize("arrangement", ["sync-chain", "request-reply"])
def test_each_switch_is_an_argument_of_every_service(arrangement: str, tmp_path: Path) -> None:
    assert tuple(ON) == CALLER_SWITCHES
    of = ARRANGEMENTS[arrangement]
    ports = dict.fromkeys(of.processes, 1)
    for options, told in ((ON, True), ({**dict.fromkeys(ON, False), "timeout_ms": 500}, False)):
        for program in build_programs("v", of, options, ports, tmp_path, "token"):
            if program.name != "v.event-bus":
                assert (ARGUMENTS in " ".join(program.argv)) is told
                assert ("--breaker" in program.argv) is told


def test_libraries_are_preloaded_only_where_they_are_needed() -> None:
    assert preload([{}, {"retries": 0}]) == PRELOAD
    assert preload([{"retries": 1}, {"breaker": True}]) == ("stamina", "pybreaker", *PRELOAD)


def problems(arrangement: str, **options: Any) -> str:
    spec = VariantSpec(arrangement=arrangement, options=options)
    return " ".join(variant_problems("variants.v", "v", spec))


def test_only_arrangements_that_ask_have_these_switches() -> None:
    for arrangement in ("sync-chain", "request-reply"):
        assert set(ON) <= set(SWITCHES[arrangement])
        assert problems(arrangement, **ON, workers=256) == ""
        assert problems(arrangement, retries=10, retry_budget=0.25) == ""
    for arrangement in ("async-bus", "monolith"):
        assert "has no switch 'breaker'" in problems(arrangement, breaker=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retries": 11}, "0 to 10"),
        ({"retries": True}, "0 to 10"),
        ({"retries": 1, "retry_budget": 1.5}, "a share, 0.0 to 1.0"),
        ({"retries": 1, "retry_budget": "some"}, "a share, 0.0 to 1.0"),
        ({"retries": 1, "retry_budget": float("nan")}, "a share, 0.0 to 1.0"),
        ({"backoff": "jitter"}, "Add retries = 1"),
        ({"retry_budget": 0.1, "retries": 0}, "Add retries = 1"),
        ({"retries": 1, "backoff": "linear"}, "none, exponential, jitter"),
        ({"bulkhead": True, "workers": 1}, "Take workers = 2"),
        ({"workers": 257}, "1 to 256"),
        ({"hedge": True}, "a whole number"),
        ({"breaker": 5}, "true or false"),
        ({"breakr": True}, "Did you mean 'breaker'"),
    ],
)
def test_a_switch_without_effect_or_sense_is_refused(options: dict[str, Any], says: str) -> None:
    assert says in problems("sync-chain", **options)
