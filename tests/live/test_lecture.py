"""A lecture: its file, and its steps on a session without processes."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.live.bets import Bets
from lab.live.broadcast import Broadcast
from lab.live.phones import Phones
from lab.live.script import Script, build_steps, situation_after
from lab.live.session import Session
from lab.scenarios.lecture import Lecture, is_lecture, read_lecture
from lab.scenarios.scenario import ScenarioError

DOCS = Path(__file__).parents[2] / "docs"

SCENES = """
title = "Two outages"
[[scene]]
say = "Follow one dot."
[[scene]]
bet = {question = "comments is killed. Who can read?", measure = "reads"}
faults = [{fault = "down", target = "comments"}]
wait_until = "decided"
[[scene]]
heal = true
rate = 40
wait_until = "normal"
card = true
"""


def lecture_of(folder: Path, text: str) -> Lecture:
    file = folder / "lecture.toml"
    file.write_text(text, encoding="utf-8")
    return read_lecture(file)


# ── The file


def test_the_lecture_of_the_docs_is_valid_and_leaves_nothing_broken() -> None:
    lecture = read_lecture(DOCS / "lecture.toml")
    assert is_lecture(str(DOCS / "lecture.toml"))
    assert not is_lecture("downed-service")
    assert not situation_after(build_steps(lecture), lecture.load.rate).faults


@pytest.mark.parametrize(
    ("scenes", "complaint"),
    [
        ("[[scene]]", "empty scene"),
        ("scene = []", "at least one [[scene]]"),
        ('[[scene]]\nfaults = [{fault = "down", target = "coments"}]', "Did you mean 'comments'"),
        ('[[scene]]\nfaults = [{fault = "dwn", target = "posts"}]', "Did you mean 'down'"),
        ('[[scene]]\nfaults = [{fault = "latency", target = "posts", mss = 3}]', "'ms'"),
        ('[[scene]]\nheal = true\nwait_until = "never"', "seconds (at most 600)"),
        ("[[scene]]\nheal = true\nwait_until = -1.0", "seconds (at most 600)"),
        ('[[scene]]\nsay = "x"\nwait_until = 3.0', "waits for an effect"),
        ('[[scene]]\nheal = true\nwait_until = "decided"', "needs a `bet`"),
        (
            '[[scene]]\nfaults = [{fault = "down", target = "posts"}]\nwait_until = "normal"',
            "while posts down lasts",
        ),
        ('[variants.sync-chain]\n[[scene]]\nsay = "x"', "2 or more"),
    ],
)
def test_a_faulty_lecture_is_refused_with_the_scene(
    tmp_path: Path, scenes: str, complaint: str
) -> None:
    with pytest.raises(ScenarioError) as error:
        lecture_of(tmp_path, f'title = "T"\n{scenes}\n')
    assert complaint in str(error.value)


# ── Its steps


class StubController:
    """Notes what it was asked to do."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def inject(self, kind: str, target: str, options: Any, pane: str | None) -> list[Any]:
        self.asked.append(f"{kind} {target}")
        return []

    async def heal(self, target: str | None, kind: str | None, pane: str | None) -> list[Any]:
        self.asked.append("heal")
        return []


def stub_session() -> Any:
    broadcast = Broadcast()
    broadcast.fixed_state = {"halves": [{"name": "sync-chain"}, {"name": "async-bus"}]}
    session = SimpleNamespace(
        broadcast=broadcast, fault_controller=StubController(), rate=20.0, require_up=lambda: None
    )

    def set_load(rate: float, mix: Any) -> None:
        session.rate = rate

    session.set_load = set_load
    return session


def running_script(lecture: Lecture) -> tuple[Script, Any]:
    session = stub_session()
    script = Script(cast(Session, session), lecture)
    phones = cast(Phones, SimpleNamespace(counts=lambda: [0, 0], send=lambda *_: None))
    script.bets = Bets(session.broadcast, phones, lambda: script.questions)
    return script, session


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def test_a_lecture_asks_breaks_waits_heals_and_keeps_the_card(tmp_path: Path) -> None:
    script, session = running_script(lecture_of(tmp_path, SCENES))
    asked, state = session.fault_controller.asked, session.broadcast.current_state
    await script.advance()  # the text
    await script.advance()
    assert script.bets.is_open
    await script.advance()
    assert script.bets.current is not None
    assert not script.bets.is_open
    await script.advance()
    assert asked == ["down comments"]
    assert state["script"]["waits"]
    card = {"n": 1, "not_back": "", "halves": {"sync-chain": {"back_s": None}}}
    session.broadcast.add_card(card)
    script.bets.current.holds = 1
    await until(lambda: not state["script"]["waits"])  # the bet is decided: the room looks at it
    assert script.position == 4
    await script.advance()
    assert asked == ["down comments", "heal"]
    assert session.rate == 40
    assert state["script"]["waits"]
    session.broadcast.add_card({**card, "halves": {"sync-chain": {"back_s": 1.5}}})
    await until(lambda: script.position == 6)  # shows the card, once all is back to normal
    assert state["script"]["steps"][5]["card"]


async def test_the_space_bar_does_not_wait_and_a_step_back_takes_the_bet_away(
    tmp_path: Path,
) -> None:
    script, session = running_script(lecture_of(tmp_path, SCENES))
    for _ in range(4):
        await script.advance()
    await script.advance()
    assert session.fault_controller.asked == ["down comments", "heal"]
    for _ in range(4):
        await script.back()
    assert script.position == 1
    assert script.bets.current is None
    assert session.rate == 20
