"""A recorded session: on disk while the lab runs, then one page that plays without a network."""

import gzip
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab.domain.errors import Invalid
from lab.live import recording
from lab.live.broadcast import Broadcast
from lab.live.panes import TWIN_PANES
from lab.live.recording import Recorder, finish, page_of, read_chunks, read_session, recording_in
from lab.live.server import STATIC_FOLDER
from tests.support.browser import LEFT, RIGHT, PageObserver, eventually, figure, is_down
from tests.support.live_world import NODE, pane_tick

CHAIN, BUS = (pane.name for pane in TWIN_PANES)
HOSTILE = "</script><script>window.ran = 1</script>"
DOWN = {"target": "comments", "kind": "down", "options": {}, "since_t": 40.0}
FEED = {"status": 200, "feed": [{"id": "1", "title": HOSTILE, "comments": []}]}


class Clock:
    """The clock of a recording, moved by the test."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(recording, "perf_counter", clock)
    monkeypatch.setattr("lab.live.broadcast.perf_counter", clock)
    return clock


@pytest.fixture
def broadcast(clock: Clock) -> Broadcast:
    return Broadcast()


@pytest.fixture
def recorder(broadcast: Broadcast, tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / recording.RECORDING_NAME, broadcast)


def start(broadcast: Broadcast) -> None:
    broadcast.reset({"halves": [pane.to_json() for pane in TWIN_PANES]})


def play(broadcast: Broadcast, clock: Clock, seconds: float, left: Any, right: Any) -> None:
    """Ticks for so long, as a session would publish them."""
    for _ in range(round(10 * seconds)):
        clock.now_s = round(clock.now_s + 0.1, 1)
        tick = {"t": broadcast.elapsed_s, "halves": {CHAIN: left, BUS: right}, "lag": {}}
        broadcast.publish_tick(tick)


def outage(broadcast: Broadcast, recorder: Recorder, clock: Clock) -> None:
    """A session of 90 s: after 40 s `comments` is killed for 10 s."""
    start(broadcast)
    play(broadcast, clock, 40, pane_tick(), pane_tick())
    recorder.record_feed(CHAIN, {"status": 503, "problem": {"detail": "comments is away"}})
    recorder.record_feed(BUS, FEED)
    broadcast.log_action(f"comments killed. {HOSTILE}", "fault")
    broadcast.set_state("faults", [{**DOWN, "half": half} for half in (CHAIN, BUS)])
    nodes = {**pane_tick()["nodes"], "comments": {**NODE, "up": False}}
    failing = {"sent": 4, "ok": 0, "failed": 4, "errors": {"http_503": 4}}
    left = pane_tick(reads=failing, comments=failing, feed_ok=False, nodes=nodes)
    play(broadcast, clock, 10, left, pane_tick(comments=failing, nodes=nodes))
    broadcast.set_state("faults", [])
    bet = {"n": 1, "question": "Who can still read?", "answers": ["the left", "the right"]}
    broadcast.set_state("bet", {**bet, "state": "open", "counts": None, "holds": None})
    broadcast.set_state("bet", {**bet, "state": "closed", "counts": [3, 40], "holds": None})
    broadcast.set_state("bet", {**bet, "state": "closed", "counts": [3, 40], "holds": 1})
    broadcast.set_state("bet", None)
    half = {"reads": {"ok": 0, "all": 400}, "posts": {"ok": 1, "all": 1}, "missing": 0}
    half |= {"comments": {"ok": 0, "all": 9}, "oldest_s": 0.0, "had_feed": False, "back_s": 1.1}
    faults = [{**DOWN, "half": CHAIN}]
    card = {"n": 1, "began_t": 40.0, "healed_t": 50.0, "down_s": 10.0, "not_back": ""}
    broadcast.add_card({**card, "faults": faults, "halves": {CHAIN: half, BUS: half}})
    play(broadcast, clock, 40, pane_tick(), pane_tick())
    recorder.close()


def names(path: Path) -> list[str]:
    return [line[1] for chunk in read_chunks(path.read_bytes()) for line in chunk.lines]


def test_a_recording_has_every_message_in_pieces(
    broadcast: Broadcast, recorder: Recorder, clock: Clock
) -> None:
    outage(broadcast, recorder, clock)
    chunks = list(read_chunks(recorder.path.read_bytes()))
    assert len(chunks) >= 9
    assert all(chunk.lines[0][1] == "hello" for chunk in chunks)
    assert all(chunk.lines[0][2]["history"] == [] for chunk in chunks)
    assert names(recorder.path).count("tick") == 900
    assert {"done", "faults", "card", "blog"} <= set(names(recorder.path))
    times = [line[0] for chunk in chunks for line in chunk.lines]
    assert times == sorted(times)


def test_memory_and_disk_grow_with_a_piece_at_most(
    broadcast: Broadcast, recorder: Recorder, clock: Clock
) -> None:
    start(broadcast)
    play(broadcast, clock, 300, pane_tick(), pane_tick())
    assert len(recorder._lines) <= 10 * recording.CHUNK_S + 1
    per_hour = 12 * recorder.path.stat().st_size
    assert per_hour < 30e6 * 3 / 4  # in base64 a third more


def test_only_what_changes_of_a_feed_is_recorded(
    broadcast: Broadcast, recorder: Recorder, clock: Clock
) -> None:
    start(broadcast)
    for answer in (FEED, FEED, {**FEED, "status": 503}, {**FEED, "status": 502}):
        recorder.record_feed(BUS, answer)
        clock.now_s += 0.6
    recorder.close()
    chunk = next(read_chunks(recorder.path.read_bytes()))
    assert [line[2]["answer"]["status"] for line in chunk.lines[1:]] == [200, 503]


def test_a_lab_that_is_killed_leaves_a_recording_that_plays(
    broadcast: Broadcast, recorder: Recorder, clock: Clock
) -> None:
    outage(broadcast, recorder, clock)
    whole = recorder.path.read_bytes()
    pieces = len(list(read_chunks(whole)))
    recorder.path.write_bytes(whole[:-1])
    assert "session-chunks" in read_session(recorder.path, STATIC_FOLDER)
    assert len(list(read_chunks(recorder.path.read_bytes()))) == pieces - 1


def test_other_files_are_no_recording() -> None:
    for data in (b"", b"text", gzip.compress(b"[1,2]\n"), gzip.compress(b"{}")):
        with pytest.raises(Invalid):
            list(read_chunks(data))


def test_an_empty_session_leaves_no_page(recorder: Recorder) -> None:
    recorder.close()
    assert finish(recorder.path, STATIC_FOLDER) is None


def test_a_full_disk_ends_the_recording_and_nothing_else(
    broadcast: Broadcast, clock: Clock, tmp_path: Path
) -> None:
    Recorder(tmp_path / "no folder" / "file", broadcast)
    start(broadcast)
    play(broadcast, clock, 25, pane_tick(), pane_tick())
    lines = [line["says"] for line in broadcast._log]
    assert lines == ["The recording ends here: No such file or directory. The lab goes on."]


def test_the_page_carries_no_text_as_markup_and_no_code_of_its_file(
    broadcast: Broadcast, recorder: Recorder, clock: Clock, tmp_path: Path
) -> None:
    outage(broadcast, recorder, clock)
    data = recorder.path.read_bytes()
    page = finish(recorder.path, STATIC_FOLDER)
    assert page is not None
    assert os.listdir(page.parent) == [page.name]
    text = page.read_text()
    assert HOSTILE not in text
    assert recording_in(text) == data
    page.write_text(text.replace("<body", "<script>window.foreign = 1</script><body"))
    assert "window.foreign" not in read_session(page, STATIC_FOLDER)


def test_a_session_with_a_reset_has_the_halves_of_its_end(
    broadcast: Broadcast, recorder: Recorder, clock: Clock
) -> None:
    start(broadcast)
    play(broadcast, clock, 3, pane_tick(), pane_tick())
    broadcast.reset({"halves": [{"name": "monolith"}]})
    recorder.close()
    page = page_of(recorder.path.read_bytes(), datetime.now(UTC), STATIC_FOLDER)
    assert '"halves":["monolith"]' in page


# ── In a browser


@pytest.fixture
def player(
    browser: Any, broadcast: Broadcast, recorder: Recorder, clock: Clock
) -> Iterator[PageObserver]:
    """The page of a session, opened as a file, without a network."""
    outage(broadcast, recorder, clock)
    page = finish(recorder.path, STATIC_FOLDER)
    assert page is not None
    context = browser.new_context(viewport={"width": 1280, "height": 720}, offline=True)
    observer = PageObserver(context.new_page())
    observer.page.goto(page.as_uri())
    observer.page.wait_for_selector("body[data-state=open]")
    yield observer
    assert observer.errors == []
    assert [u for u in observer.requested_urls if not u.startswith(("file:", "data:"))] == []
    assert observer.page.evaluate("window.ran ?? 0") == 0
    context.close()


_SEEK = """r => {
    const slider = document.querySelector('.player-track input');
    slider.value = r;
    slider.dispatchEvent(new Event('input'));
}"""


def test_the_page_plays_the_session_at_any_moment(player: PageObserver) -> None:
    page = player.page
    player.wait_for(figure, 1, True)
    page.evaluate(_SEEK, 45)
    page.wait_for_selector(figure(LEFT, 1, False))
    page.wait_for_selector(figure(RIGHT, 1, True))
    player.wait_for(is_down, "comments")
    page.wait_for_selector(f"{LEFT} .error-page:visible")
    page.wait_for_selector(f"{RIGHT} .feed:visible")
    player.wait_for_text("#outage", "comments DOWN")
    page.evaluate(_SEEK, 52)
    player.wait_for(figure, 1, True)
    page.wait_for_selector("#card:visible")
    page.evaluate(_SEEK, 39)
    page.keyboard.press("Space")
    player.wait_for(is_down, "comments")
    page.keyboard.press("Space")
    at = page.text_content(".player-at")
    page.keyboard.press("ArrowLeft")
    eventually(page, "document.querySelector('.player-at').textContent", lambda text: text != at)
    assert player.violations() == []


def test_the_page_lists_deeds_bets_and_cards_to_jump_to(player: PageObserver) -> None:
    page = player.page
    player.wait_for_text("#session-list", "Who can still read? the left 3 · the right 40 ✓")
    player.wait_for_text("#session-list", HOSTILE)
    assert page.locator(".session-cards tbody tr").count() == 2
    page.locator(".session-cards .jump").click()
    player.wait_for_text(".player-at", "0:35 / 1:30")
