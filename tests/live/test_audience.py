"""Phones and bets: one answer for each phone, and no more power than that in a hostile hall."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import segno

from lab.domain.errors import Conflict, Forbidden, Invalid
from lab.live import phones as phones_module
from lab.live import server
from lab.live.audience import preferred_first, qr_code
from lab.live.bets import ANSWER_EVERY_S, READY_QUESTIONS, Bets
from lab.live.blog import BlogClient
from lab.live.broadcast import Broadcast
from lab.live.panes import TWIN_PANES
from lab.live.phones import MAX_MESSAGE_BYTES, MAX_PER_ADDRESS, Phones, encode_page, measure
from lab.scenarios.spec import BetSpec
from tests.support.browser import HOSTILE
from tests.support.hall import Hall, HallPhone, post
from tests.support.live_world import ConsoleServer, pane_tick

WHO_READS = BetSpec(question="Who can read?", measure="reads")
LEFT_NAME, RIGHT_NAME = (pane.name for pane in TWIN_PANES)
FAULT = {"target": "comments", "kind": "down", "options": {}, "half": None, "since_t": 10.0}
FORGED = ("", "0", "1.", "1.x", "0.AAAAAAAAAAAAAAAAAAAAAA", "-1.x", "9" * 60, "٣.x", "<script>")


@pytest.fixture
def broadcast() -> Broadcast:
    show = Broadcast()
    show.fixed_state = {"halves": [pane.to_json() for pane in TWIN_PANES]}
    return show


@pytest.fixture
def phones(broadcast: Broadcast) -> Phones:
    return Phones(broadcast, cast(BlogClient, None))


@pytest.fixture
def bets(broadcast: Broadcast, phones: Phones, tmp_path: Path) -> Bets:
    return Bets(broadcast, phones, folder=tmp_path)


@pytest.fixture
def served() -> Iterator[ConsoleServer]:
    server = ConsoleServer()
    server.broadcast.fixed_state = {"halves": [pane.to_json() for pane in TWIN_PANES]}
    yield server
    server.close()


def measure_outage(bets: Bets, left: dict[str, Any], right: dict[str, Any]) -> None:
    """Five seconds of ticks from the moment of a fault on, and then its end."""
    bets.on_message("faults", [FAULT])
    for number in range(50):
        halves = {LEFT_NAME: pane_tick(**left), RIGHT_NAME: pane_tick(**right)}
        bets.on_message("tick", {"t": FAULT["since_t"] + number / 10, "halves": halves})
    bets.on_message("faults", [])


FAILING = {"reads": {"sent": 4, "ok": 0, "failed": 4, "errors": {}}, "feed_ok": False}
STALE = {"feed_age_ms": 4_000}


# ── Phones


def test_each_half_gets_every_other_phone(phones: Phones) -> None:
    with ExitStack() as connected:
        for number in range(10):
            connected.enter_context(phones.connect("", f"10.0.0.{number // 2}"))
        assert phones.counts() == {"left": 5, "right": 5, "addresses": 5}


@pytest.mark.parametrize("token", FORGED)
def test_a_forged_number_is_no_phone(phones: Phones, token: str) -> None:
    with phones.connect("", "10.0.0.1"), pytest.raises(Forbidden):
        phones.find(token)


def test_a_phone_that_reconnects_is_the_same(phones: Phones) -> None:
    with phones.connect("", "10.0.0.1") as (first, _):
        token = phones.token(first)
        assert phones.find(token) is first
    with pytest.raises(Forbidden):
        phones.find(token)
    with phones.connect(token, "10.0.0.2") as (second, _):
        assert second is first


def test_a_number_of_another_session_is_a_new_phone(broadcast: Broadcast, phones: Phones) -> None:
    others = Phones(broadcast, cast(BlogClient, None))
    with phones.connect("", "10.0.0.1") as (phone, _), others.connect("", "10.0.0.1"):
        with pytest.raises(Forbidden):
            others.find(phones.token(phone))
        with others.connect(phones.token(phone), "10.0.0.1") as (other, _):
            assert other is not phone


def test_one_address_gets_a_bounded_number_of_phones(phones: Phones) -> None:
    for _ in range(MAX_PER_ADDRESS):
        with phones.connect("", "10.0.0.1"):
            pass  # it has gone already, and still counts: else one program could vote for ever
    with pytest.raises(Conflict, match="your network address"), phones.connect("", "10.0.0.1"):
        pass
    with phones.connect("", "10.0.0.2"), phones.connect("", "127.0.0.1"):
        pass


def test_a_full_hall_is_told_so(phones: Phones, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phones_module, "MAX_PHONES", 1)
    with phones.connect("", "10.0.0.1") as (phone, _):
        for token in ("", phones.token(phone)):
            with pytest.raises(Conflict, match="Watch the projector"), phones.connect(token, "x"):
                pass


def test_any_feed_fits_into_a_small_message() -> None:
    texts = [*HOSTILE, "\ud800", "\U0001f600" * 200, "x" * 2_000]
    for text in texts:
        comment = {"content": text, "status": "approved"}
        feed = [{"title": text, "comments": [comment] * 3}] * 10
        data = encode_page({"name": RIGHT_NAME, **measure([])}, {"status": 200, "feed": feed})
        assert len(data) <= MAX_MESSAGE_BYTES
        assert b"\n" not in data
        json.loads(data)
    problem = {"status": 503, "problem": {"detail": "x" * 5_000}}
    assert len(encode_page({}, problem)) <= MAX_MESSAGE_BYTES


async def test_a_fault_makes_the_kept_feed_old(
    broadcast: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = 0

    async def request_feed(*_: object) -> dict[str, Any]:
        nonlocal requested
        requested += 1
        return {"status": 200, "feed": []}

    monkeypatch.setattr("lab.live.blog._request_feed", request_feed)
    monkeypatch.setattr("lab.live.blog.perf_counter", lambda: 100.0)
    stacks = {LEFT_NAME: None}
    session = SimpleNamespace(broadcast=broadcast, require_up=lambda: None, stacks=stacks)
    blog = BlogClient(cast(Any, session))
    for _ in range(3):
        await blog.feed(LEFT_NAME)
    assert requested == 1
    broadcast.set_state("faults", [FAULT])
    await blog.feed(LEFT_NAME)
    assert requested == 2


# ── Bets


def test_the_measured_answer_stands_beside_the_bars(
    bets: Bets, phones: Phones, tmp_path: Path
) -> None:
    bets.ask(WHO_READS)
    with phones.connect("", "10.0.0.1") as (one, _), phones.connect("", "10.0.0.2") as (two, _):
        bets.vote(one, 1, 1)
        bets.vote(two, 1, 3)
        assert bets.current is not None
        assert bets.current.to_json()["counts"] is None  # nobody follows a majority
        bets.close()
        with pytest.raises(Conflict):
            bets.vote(one, 1, 0)
    measure_outage(bets, FAILING, STALE)
    bet = bets.current.to_json()
    assert (bet["counts"], bet["holds"], bet["decided_by"]) == ([0, 1, 0, 1], 1, "measurement")
    assert bet["measured"]["reads"] == [[0, 160], [160, 0]]
    assert bet["measured"]["lag_ms"] == [None, 4_000]
    bets.finish()
    assert bets.current is None
    (kept,) = json.loads((tmp_path / "bets.json").read_text())["bets"]
    assert kept["votes"] == sorted([[one.number, 1], [two.number, 3]])
    assert kept["by_side"] == [[0, 0, 0, 1], [0, 1, 0, 0]] or kept["by_side"] == [
        [0, 1, 0, 0],
        [0, 0, 0, 1],
    ]


@pytest.mark.parametrize(
    ("measure", "left", "right", "holds"),
    [
        ("reads", {}, {}, 2),
        ("reads", FAILING, {}, 1),
        ("reads", {}, FAILING, 0),
        ("reads", FAILING, FAILING, 3),
        ("fresh", FAILING, STALE, 3),
        ("fresh", {}, STALE, 0),
    ],
)
def test_the_lab_decides_which_answer_holds(
    bets: Bets, measure: Any, left: dict[str, Any], right: dict[str, Any], holds: int
) -> None:
    bets.ask(BetSpec(question="Who?", measure=measure))
    bets.close()
    measure_outage(bets, left, right)
    assert bets.current is not None
    assert bets.current.holds == holds


def test_a_question_of_ones_own_is_decided_by_the_presenter(bets: Bets) -> None:
    bets.ask(BetSpec(question="Why?", answers=("It waits.", "It is down.")))
    bets.close()
    measure_outage(bets, FAILING, {})
    assert bets.current is not None
    assert bets.current.holds is None
    with pytest.raises(Invalid):
        bets.decide(2)
    assert bets.decide(1)["decided_by"] == "presenter"


def test_the_questions_are_those_of_the_scenario_that_is_shown(
    broadcast: Broadcast, phones: Phones
) -> None:
    shown: list[BetSpec] = []
    bets = Bets(broadcast, phones, lambda: shown)
    assert bets.ready == READY_QUESTIONS
    shown.append(WHO_READS)
    assert bets.ready == (WHO_READS,)


def test_bets_take_their_turns(bets: Bets) -> None:
    for wrong in (bets.close, bets.finish, lambda: bets.decide(0)):
        with pytest.raises(Conflict):
            wrong()
    bets.ask(WHO_READS)
    for wrong in (bets.finish, lambda: bets.ask(WHO_READS)):
        with pytest.raises(Conflict):
            wrong()


def test_a_phone_changes_its_answer_but_not_at_any_speed(
    bets: Bets, phones: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    bets.ask(WHO_READS)
    with phones.connect("", "10.0.0.1") as (phone, _):
        now_s = 100.0
        monkeypatch.setattr("lab.live.bets.perf_counter", lambda: now_s)
        bets.vote(phone, 1, 0)
        with pytest.raises(Conflict, match="Wait"):
            bets.vote(phone, 1, 1)
        now_s += 2 * ANSWER_EVERY_S
        bets.vote(phone, 1, 1)
        for number, answer in ((1, 4), (2, 0), (0, 0)):
            with pytest.raises((Conflict, Invalid)):
                bets.vote(phone, number, answer)
    assert bets.close()["counts"] == [0, 1, 0, 0]


# ── A hall


def ask(served: ConsoleServer, **spec: Any) -> Any:
    return served.post("/api/ask", **(spec or {"question": "Who can read?", "measure": "reads"}))


async def test_a_hostile_hall_changes_no_other_answer(served: ConsoleServer) -> None:
    port = served.shared.port
    async with Hall(port, 40) as hall:
        await asyncio.to_thread(ask, served)
        await asyncio.gather(*(phone.wait_for(lambda last: last["bet"]) for phone in hall.phones))
        attacker, victim, *honest = hall.phones
        forged = [
            *(attacker.vote(2, phone=token) for token in FORGED),
            *(attacker.vote(2, phone=f"{number}.{'A' * 22}") for number in range(200)),
            # One of these may be the end of the victim's own token.
            *(
                attacker.vote(2, phone=victim.token[:-1] + end)
                for end in "AZaz09-_.".replace(victim.token[-1], "")
            ),
            *(attacker.vote(2) for _ in range(200)),  # its own number, again and again
            *(attacker.vote(answer) for answer in (4, -1, 10**9)),
            *(attacker.vote(2, bet=number) for number in (0, 2, -1)),
            *(attacker.vote(2, extra="<script>") for _ in range(3)),
            *(attacker.vote(answer) for answer in cast(Any, ("1", None, [1], 1.5, True))),
            *(post(port, "/api/vote", body) for body in (b"", b"[", b"{}", b"x" * 10_000)),
            *(post(port, path, {"do": "close"}) for path in ("/api/bet", "/api/ask", "/api/fault")),
        ]
        votes = [phone.vote(1) for phone in honest]
        statuses, honest_statuses = await asyncio.gather(
            asyncio.gather(*forged), asyncio.gather(*votes)
        )
        assert set(honest_statuses) == {200}
        counted = Counter(statuses)
        assert counted[200] >= 1  # with its own number it has one answer, as everybody
        assert set(counted) <= {200, 400, 403, 404, 409, 413}
        result = await asyncio.to_thread(served.post, "/api/bet", do="close")
    assert result["counts"] == [0, len(honest), 1, 0]


def test_an_address_that_sends_too_fast_waits(
    served: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, now_s = served.spectator_app, 100.0
    monkeypatch.setattr(server, "perf_counter", lambda: now_s)
    too_fast = [app._is_too_fast("10.0.0.1") for _ in range(server.MAX_REQUESTS_PER_S + 1)]
    assert (too_fast[-2], too_fast[-1]) == (False, True)
    assert not app._is_too_fast("10.0.0.2")
    now_s += 1
    assert not app._is_too_fast("10.0.0.1")


async def test_only_open_streams_vote(served: ConsoleServer) -> None:
    phone = HallPhone(served.shared.port)
    await asyncio.to_thread(ask, served)
    reading = asyncio.create_task(phone.read_stream())
    await phone.wait_for(lambda last: last.get("bet"))
    reading.cancel()
    # The server notices a closed connection when it next writes, or at the latest in a vote.
    assert await phone.vote(1) in (200, 403)


def test_texts_of_the_room_are_bounded(served: ConsoleServer) -> None:
    for wrong in (
        {"question": "x" * 301, "measure": "reads"},
        {"question": "Who?", "answers": ["x" * 81, "y"]},
        {"question": "Who?", "answers": ["one"]},
        {"question": "", "measure": "reads"},
        {"question": "Who?", "measure": "all"},
        {"question": "Who?", "answers": ["1", "2"], "html": "<b>"},
    ):
        assert served.request("POST", "/api/ask", wrong)[0] == 400


def test_the_address_is_a_qr_code_that_reads_back() -> None:
    url = "http://192.168.178.123:54321/"
    code = qr_code(url)
    rows = [[0] * code["size"] for _ in range(code["size"])]
    for piece in code["path"].split("M")[1:]:
        x, y = piece.removesuffix("h1v1h-1z").split()
        rows[int(y)][int(x)] = 1
    assert rows == [list(row) for row in segno.make_qr(url, error="m").matrix]
    assert code["size"] >= 25


def test_the_address_of_the_default_network_comes_first() -> None:
    urls = ["http://10.9.9.9:1/", "http://172.17.0.1:1/"]
    assert sorted(preferred_first(urls)) == urls


def test_the_room_learns_what_to_open_and_ask(served: ConsoleServer) -> None:
    room = served.get("/api/room")
    assert room["shared"] is False
    assert room["addresses"] == []
    assert len(room["ready"]) >= 5
    assert served.shared.request("GET", "/api/room")[0] == 404
