"""A client that retries a write: when, how often, and with which idempotency key."""

from __future__ import annotations

import asyncio

import pytest

from lab.domain import headers
from lab.load.metrics import endpoint_figures
from lab.load.sender import RetryingClient
from lab.report.sections import client_retries
from lab.results.result import EndpointResult, PhaseResult, VariantResult
from lab.support.http_client import HttpOrigin, HttpResult
from tests.load.test_generator import a_sender, fire_all
from tests.support.load_blog import FakeAnswer, FakeClient, LoadWorld

DONE: FakeAnswer = (201, {"id": "000001"})
REFUSED: FakeAnswer = (503, {"definite": True})
TIMEOUT_S = 2.0


def ask(
    world: LoadWorld, *script: FakeAnswer, method: str = "POST", retries: int = 1
) -> HttpResult:
    """The outcome of one request whose attempts get these answers."""
    world.script = list(script)
    world.requests.clear()

    async def send() -> HttpResult:
        outcome: asyncio.Future[HttpResult] = world.loop.create_future()
        client = RetryingClient(FakeClient(world), retries, TIMEOUT_S)
        give_up_at_s = world.loop.time() + TIMEOUT_S
        origin = HttpOrigin("127.0.0.1", 1)
        assert client.send(method, origin, "/posts", b"{}", give_up_at_s, outcome.set_result, {})
        return await outcome

    came: HttpResult = world.run(send())
    return came


def idempotency_keys(world: LoadWorld) -> list[str]:
    sent = [given for _, given in world.requests]
    return [given[headers.IDEMPOTENCY_KEY] for given in sent if headers.IDEMPOTENCY_KEY in given]


@pytest.mark.parametrize(
    ("script", "retries", "status", "error", "retried"),
    [
        (["timeout", DONE], 1, 201, "", 1),
        (["reset", DONE], 1, 201, "", 1),
        (["timeout"], 2, 0, "timeout", 2),
        ([REFUSED, DONE], 0, 503, "", 0),
        ([REFUSED, DONE], 1, 503, "", 0),
        (["refused", DONE], 1, 0, "refused", 0),
    ],
)
def test_a_write_is_repeated_only_if_its_outcome_is_unknown(
    world: LoadWorld, script: list[FakeAnswer], retries: int, status: int, error: str, retried: int
) -> None:
    outcome = ask(world, *script, retries=retries)
    assert (outcome.status, outcome.error, outcome.retried) == (status, error, retried)
    assert len(world.requests) == len(idempotency_keys(world)) == 1 + retried
    assert len(set(idempotency_keys(world))) == 1, "the same key each time"


def test_two_writes_have_two_keys(world: LoadWorld) -> None:
    both = []
    for _ in range(2):
        ask(world, DONE)
        both += idempotency_keys(world)
    assert len(set(both)) == 2


def test_a_read_has_no_key_and_is_not_sent_again(world: LoadWorld) -> None:
    outcome = ask(world, "timeout", method="GET")
    assert (outcome.error, outcome.retried, len(world.requests)) == ("timeout", 0, 1)
    assert idempotency_keys(world) == []


def test_latency_of_a_repeated_write_counts_from_its_first_attempt(world: LoadWorld) -> None:
    world.script = ["timeout", DONE, (200, [{"id": "000001", "comments": []}])]
    (sample,) = fire_all(world, a_sender(world, retries=1, timeout_s=TIMEOUT_S), "create_post")
    assert (sample.ok, sample.retried) == (True, 1)
    assert sample.latency_ms == pytest.approx(1_000 * (TIMEOUT_S + world.latency_s), abs=1)
    assert endpoint_figures([sample], is_write=True)["retried"] == 1


@pytest.mark.parametrize(
    ("script", "retried", "definite"), [(["timeout", REFUSED], 1, False), ([REFUSED], 0, True)]
)
def test_a_refused_second_attempt_says_nothing_about_the_first(
    world: LoadWorld, script: list[FakeAnswer], retried: int, definite: bool
) -> None:
    world.script = script
    (sample,) = fire_all(world, a_sender(world, retries=1, timeout_s=TIMEOUT_S), "create_post")
    assert (sample.error, sample.retried, sample.definite) == ("http_503", retried, definite)


def test_the_table_says_how_often_clients_came_again() -> None:
    endpoint = EndpointResult(sent=9, ok=9, failed=0, retried=4)
    phases = {
        "before": PhaseResult(seconds=1.0, endpoints={}),
        "during": PhaseResult(seconds=1.0, endpoints={"create_post": endpoint}),
    }
    variant = VariantResult(name="x", arrangement="sync-chain", phases=phases)
    said = client_retries(variant)
    assert said is not None
    assert said.endswith("4 during.")
    assert client_retries(variant.model_copy(update={"phases": {}})) is None
