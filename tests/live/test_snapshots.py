"""What a snapshot says of processes and writes: hangs or slow, late or missing."""

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.control_client import ControlResponse
from lab.cluster.stack import Stack
from lab.domain.services import BUS, SERVICES
from lab.live.broadcast import Broadcast
from lab.live.snapshots import ROUNDS, MissingWrites, ProcessMonitor, ProcessState
from lab.load.live_stats import AGES_S

OLD = [7] * AGES_S
"""Seven writes that were acknowledged long ago and that readers do not see."""


class FakeStack:
    """A stack of which only the arrangement is there, and the answers that its processes give."""

    def __init__(self, arrangement: str, *answers: ControlResponse) -> None:
        self.arrangement = ARRANGEMENTS[arrangement]
        self.urls = dict.fromkeys(self.arrangement.targets, "")
        self._answers = list(answers)

    async def call(self, *request: object, within_s: float) -> ControlResponse:
        return self._answers.pop(0)


def stack(arrangement: str, *answers: ControlResponse) -> Stack:
    return cast(Stack, FakeStack(arrangement, *answers))


# ── Processes

SILENT, ALIVE = ControlResponse(0, "timeout", None), ControlResponse(200, None, {})


async def test_one_late_answer_is_slow_and_two_are_a_hang() -> None:
    monitor = ProcessMonitor(stack("sync-chain", SILENT, SILENT, SILENT, ALIVE))
    seen = []
    for _ in range(4):
        await monitor._poll("comments")
        seen.append(monitor.snapshot()["comments"]["up"])
    assert seen == ["slow", "hangs", "hangs", True]


async def test_a_poll_that_is_still_pending_is_slow_at_most() -> None:
    monitor = ProcessMonitor(stack("sync-chain"))
    monitor.states["query"].polled_s = 0.0  # ages ago
    assert monitor.snapshot()["query"]["up"] == "slow"


# ── Missing writes


class World:
    """The states of a stack on the bus, as polls find them at the moments of its clock."""

    def __init__(self, arrangement: str = "async-bus", **bus: Any) -> None:
        self.states = {name: ProcessState() for name in (*SERVICES, BUS)}
        self.missing = MissingWrites(stack(arrangement), self.states)
        self.now_s = self.missing._round_ended_s
        self.looks = True
        self.look_s = 0.02
        """How long ago the newest look began."""
        self.looked_s = 0.0
        self.bus: Mapping[str, Any] = bus or {"head": 9}
        self.services: dict[str, dict[str, Any]] = {
            name: {"committed": 0, "published": 0, "offset": 9} for name in SERVICES
        }

    def after(self, seconds: float, unseen_by_age: list[int]) -> int:
        """What is missing after some seconds with five polls each, and a look of the probe each."""
        found = 0
        for _ in range(round(seconds * 5)):
            self.now_s += 0.2
            for name, node in self.states.items():
                node.state = self.bus if name == BUS else self.services[name]
                node.fresh_s = self.now_s - 0.01
            if self.looks:
                self.looked_s = self.now_s - self.look_s
            found = self.missing.count(unseen_by_age, self.looked_s, self.now_s)
        return found


def test_a_write_with_nothing_on_its_way_is_missing() -> None:
    assert World().after(4, OLD) == 7


def test_a_young_write_is_not_missing_yet() -> None:
    assert World().after(4, [3] + [0] * (AGES_S - 1)) == 0


@pytest.mark.parametrize(
    ("service", "state"),
    [
        ("comments", {"committed": 5, "published": 4, "offset": 9}),
        ("query", {"committed": 0, "published": 0, "offset": 3}),
        ("moderation", {"committed": 0, "published": 0, "offset": 3}),
    ],
)
def test_a_write_in_an_outbox_or_before_a_consumer_is_late(
    service: str, state: dict[str, Any]
) -> None:
    world = World()
    well, world.services[service] = world.services[service], state
    assert world.after(20, OLD) == 0
    world.services[service] = well
    assert world.after(4, OLD) == 7


def test_a_delivery_in_progress_on_a_bus_without_offsets_is_late() -> None:
    world = World(head=None, begun=8, ended=7)
    assert world.after(20, OLD) == 0
    world.bus = {"head": None, "begun": 8, "ended": 8}
    assert world.after(4, OLD) == 7


def test_a_bus_that_is_started_again_has_lost_its_deliveries() -> None:
    world = World(head=None, begun=8, ended=7)
    assert world.after(4, OLD) == 0
    world.bus = {"head": None, "begun": 1, "ended": 0}
    world.after(0.4, OLD)
    world.bus = {"head": None, "begun": 3, "ended": 3}
    assert world.after(4, OLD) == 7


def test_a_queue_that_is_never_empty_hides_no_missing_write() -> None:
    world = World(head=None, begun=5, ended=3)
    world.services["comments"] = {"committed": 5, "published": 3, "offset": None}
    for number in range(40):
        world.services["comments"] = {"committed": 5 + number, "published": 3 + number}
        world.bus = {"head": None, "begun": 5 + number, "ended": 3 + number}
        found = world.after(0.2, OLD)
    assert found == 7


@pytest.mark.parametrize("arrangement", ["async-bus", "sync-chain"])
def test_nothing_is_missing_while_no_feed_was_read(arrangement: str) -> None:
    world = World(arrangement)
    world.looks = False
    assert world.after(20, OLD) == 0


def test_what_was_missing_stays_so_in_a_later_outage() -> None:
    world = World()
    assert world.after(4, OLD) == 7
    world.services["comments"] = {"committed": 5, "published": 0, "offset": 9}
    for second in range(20):  # five more writes wait in the outbox, and get older
        assert world.after(1, [12] * min(second, AGES_S) + OLD[second:]) == 7
    assert world.after(1, [0] * AGES_S) == 0


def test_an_event_that_causes_another_one_needs_more_rounds() -> None:
    assert ROUNDS == 3
    world = World()
    for _ in range(2):
        world.after(0.4, OLD)  # one round: empty outboxes, then every consumer at the head
    assert world.missing._confirmed_s == float("-inf")


def test_a_feed_slower_than_a_round_hides_no_missing_write() -> None:
    world = World()
    world.look_s = 3.0
    assert world.after(8, OLD) == 7


# ── Faults of the last minute


def test_a_late_screen_gets_the_healed_faults_of_the_last_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show = Broadcast()
    fault = {"half": "left", "target": "posts", "kind": "down", "options": {}, "since_t": 1.0}
    show.set_state("faults", [fault])
    show.set_state("faults", [])
    (past,) = json.loads(show.hello_message("watcher"))["past_faults"]
    assert past.pop("until_t") >= 0
    assert past == fault
    monkeypatch.setattr("lab.live.broadcast.HISTORY_S", -1)
    assert json.loads(show.hello_message("watcher"))["past_faults"] == []
