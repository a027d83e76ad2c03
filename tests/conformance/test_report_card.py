"""`lab check`: the report card of somebody else's system, from what really happened to it."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from xml.etree import ElementTree

import pytest

from lab.card import formats
from lab.card.card import Card, Criterion, Line, Part
from lab.card.client import Client, Feed
from lab.card.contract import _Looking
from lab.card.judging import JUDGES, Seen
from lab.card.outages import OUTAGES
from lab.card.trying import report_card
from lab.cluster.program import Exit
from lab.foreign.made_of import LOG
from lab.foreign.stack import ForeignStack
from lab.foreign.target import Target
from lab.load.samples import Sample
from lab.scenarios import catalogue
from lab.scenarios.claims import CLAIMS
from lab.scenarios.holdings import Holdings
from lab.scenarios.result import Data
from tests.support.foreign_blog import a_target
from tests.support.worked_targets import NAMES, NEEDS, moved

ROOT = Path(__file__).parents[2]


def outage(*keys: str) -> list:  # type: ignore[type-arg]
    return [one for one in OUTAGES if one.key in keys]


def told(card: Card) -> dict[str, bool | None]:
    return {line.criterion.key: line.held for line in card.lines}


def seen(card: Card, key: str) -> str:
    return next(line.seen for line in card.lines if line.criterion.key == key)


# Real systems: all at once, for most of the time they wait.


def on_ports_of_its_own(folder: Path) -> Target:
    """The one with the names of a cluster, as it is there: each with a number in its code."""
    target = moved("python-blog", folder)
    services = {
        name: one.model_copy(
            update={
                "command": tuple(
                    word.replace("{port}", str(target.port_of(name))) for word in one.command
                )
            }
        )
        for name, one in target.services.items()
    }
    return target.model_copy(update={"services": services})


async def every_card(folder: Path) -> dict[str, Card]:
    shell = moved("shell-blog", folder / "shell")
    exits = [sys.executable, "-c", "import sys; sys.exit('no database')"]
    wanted = {
        "naive": report_card(a_target(), outage("query-cut", "comments-slow")),
        "with the log": report_card(a_target(), outage("query-cut"), bus=LOG),
        "one service": report_card(shell, outage("comments-down", "query-down", "bus-down")),
        "by name": report_card(on_ports_of_its_own(folder / "named"), outage("query-cut")),
        "exits": report_card(a_target(query={"command": exits, "port": 0, "port_env": "PORT"})),
        **{
            name: report_card(moved(name, folder / name), outages=())
            for name in NAMES
            if shutil.which(NEEDS[name])
        },
    }
    return dict(zip(wanted, await asyncio.gather(*wanted.values()), strict=True))


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Card]:
    return asyncio.run(every_card(tmp_path_factory.mktemp("targets")))


@pytest.mark.parametrize("name", NAMES)
def test_the_worked_targets_hold_their_contract(name: str, cards: dict[str, Card]) -> None:
    if name not in cards:
        pytest.skip(f"there is no {NEEDS[name]} here, so {name} was not started")
    card = cards[name]
    assert card.passed, formats.sentences(card, name)
    looked_at = {key for key, held in told(card).items() if held is not None}
    assert len(looked_at) == (10 if name == "shell-blog" else 11)


def test_a_naive_bus_is_found_out(cards: dict[str, Card]) -> None:
    card = cards["naive"]
    held = told(card)
    assert held["create-comment"] is True
    assert held["query-cut.kept"] is False
    assert "are missing" in seen(card, "query-cut.kept")
    assert held["query-cut.reads"] is True
    assert "before that" in seen(card, "comments-slow.fast")
    assert held["comments-slow.kept"] is True
    assert not card.passed
    text = "\n".join(formats.sentences(card, "mine.toml"))
    assert "NOT HELD  Nothing that was acknowledged is missing afterwards" in text
    assert "Claim: bus-passes-on. Scenario: lab show dropped-events" in text
    assert "bus-passes-on: What a change in one service means" in text
    assert "lab run downed-service --with mine.toml" in text


def test_who_is_called_by_a_name_can_be_cut_off_on_a_port_of_its_own(
    cards: dict[str, Card],
) -> None:
    card = cards["by name"]
    assert card.unmoved == ()
    assert told(card)["query-cut.kept"] is False, formats.sentences(card, "mine.toml")


def test_with_the_log_in_its_place_nothing_is_missing(cards: dict[str, Card]) -> None:
    card = cards["with the log"]
    held = told(card)
    assert held.get("query-cut.kept") is True, formats.sentences(card, "mine.toml")
    assert held["bus-remembers"] is True
    assert "bus: the lab's log" in formats.sentences(card, "mine.toml")[0]


def test_one_that_has_one_service_is_looked_at_as_far_as_that_goes(cards: dict[str, Card]) -> None:
    card = cards["one service"]
    held = told(card)
    assert held["comments-down.kept"] is True  # its files outlive whoever is killed
    assert held["comments-down.back"] is True
    assert held["comments-down.reads"] is None
    assert "blog was down above already" in seen(card, "query-down.kept")
    assert "there is no event-bus here" in seen(card, "bus-down.kept")
    assert card.passed


def test_where_there_was_nothing_to_show_nothing_can_be_shown_again() -> None:
    class Empty:
        async def feed_when(self, right: object) -> tuple[Feed, str]:
            return [], "not so after 3 s"

    looking = _Looking(cast(ForeignStack, SimpleNamespace(target=a_target(bus="none"))))
    looking._client = cast(Client, Empty())
    asyncio.run(looking.replay())
    line = next(one for one in looking.notes.lines() if one.criterion.key == "replay")
    assert (line.held, line.seen) == (None, "there was nothing to show again: not so after 3 s")


def test_who_does_not_start_has_a_card_that_says_why(cards: dict[str, Card]) -> None:
    card = cards["exits"]
    assert card.trouble == "query exited with status 1 before it was ready."
    assert card.log == ("no database",)
    assert set(told(card).values()) == {None}
    assert not card.passed
    suite = ElementTree.fromstring(formats.junit(card))[0]
    assert suite.get("errors") == "1"
    assert "no database" in (suite.findtext("testcase/error") or "")


def test_the_command_prints_a_card_and_says_by_its_status_what_it_came_to(tmp_path: Path) -> None:
    moved("shell-blog", tmp_path)
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "cli.py", "check", "shell-blog.toml", "--contract"),
            *("--json", "--junit", "junit.xml"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["schema"], document["passed"]) == ("lab.card/1", True)
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().tag == "testsuites"
    assert "... the contract" in done.stderr


def test_a_part_is_told_what_it_lacks_and_a_mistake_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "part.toml").write_text('[services.comments]\ncommand = "x"\n')
    (tmp_path / "wrong.toml").write_text('[services.comments]\ncommnad = "x"\n')
    for file, says in (
        ("part.toml", "--replace"),
        ("wrong.toml", "wrong.toml:2: services.comments.commnad"),
        ("none.toml", "can't be read"),
    ):
        done = subprocess.run(
            [sys.executable, ROOT / "cli.py", "check", file],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert says in done.stderr


# The table, and what is made of what was seen.


def test_each_criterion_is_explained_by_claims_and_scenarios_that_there_are() -> None:
    criteria = [one for outage in OUTAGES for one in outage.looks.values()]
    assert {one.claim for one in criteria} <= CLAIMS.keys()
    assert {one.scenario for one in criteria} <= set(catalogue.names())
    assert {key for one in OUTAGES for key in one.looks} == JUDGES.keys()


def became(**of: int) -> Data:
    """What became of nine writes."""
    return Data(
        **{"acknowledged": 9, "visible": 9, "lost": 0, "duplicated": 0, "unsettled": 0} | of
    )


def what_was_seen(**changed: object) -> Seen:
    good = {"lag_ms": 0.0, "latency_ms": 10.0, "ok": True}
    during = [
        Sample("x", "during", endpoint, 0.0, **good)  # type: ignore[arg-type]
        for endpoint in ("read_feed", "create_post", "create_comment") * 20
    ]
    held = Holdings(only_the_feed=True)
    data = became()
    given = {
        **{"part": "comments", "broken": (), "before": 9.0, "during": during, "written": []},
        **{"data": data, "held": held, "unread": "", "ended": [], "back": ""},
    }
    return Seen(**(given | changed))  # type: ignore[arg-type]


def test_all_is_well_where_all_is_well() -> None:
    verdicts = {key: judge(what_was_seen())[0] for key, judge in JUDGES.items()}
    assert verdicts == dict.fromkeys(JUDGES, True) | {"honest": None}


def refused(count: int, error: str = "http_500") -> list[Sample]:
    return [
        Sample("x", "during", "create_post", 0.0, 0.0, 1.0, error=error, token=f"w-0-{n:06d};")
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("key", "changed", "says"),
    [
        ("posts", {"during": refused(3)}, "0 of 3 were (http_500)"),
        ("kept", {"data": became(lost=2)}, "2 of 9 are missing"),
        ("decided", {"data": became(unsettled=2)}, "2 still wait"),
        ("once", {"data": became(duplicated=1)}, "1 are"),
        ("others", {"ended": [Exit("a.posts", 1, ("oh",))]}, "posts exited with status 1: oh"),
        (
            "others",
            {"ended": [Exit("a.posts", 1, ("x: 1", "AxiosError: no", "  isError: true", "v20"))]},
            "posts exited with status 1: AxiosError: no",
        ),
        ("back", {"back": "read_feed: no answer in time"}, "read_feed: no answer in time"),
        ("fast", {"before": -300.0}, "half within 10 ms"),
    ],
)
def test_what_does_not_hold_is_said_with_what_was_seen(
    key: str, changed: dict[str, object], says: str
) -> None:
    held, told = JUDGES[key](what_was_seen(**changed))
    assert held is False
    assert says in told


def test_what_was_answered_with_an_error_and_is_there_is_found() -> None:
    held = Holdings(only_the_feed=True)
    held.shown.update(["w-0-000001;"])
    judged = JUDGES["honest"](what_was_seen(written=refused(3), held=held))
    assert judged == (False, "1 of 3 are there")
    silent = what_was_seen(written=refused(3, "timeout"), held=held)
    assert JUDGES["honest"](silent)[0] is None  # nobody was told anything


@pytest.mark.parametrize("key", ["kept", "decided", "once", "honest"])
def test_what_could_not_be_read_is_not_held_against_anybody(key: str) -> None:
    assert JUDGES[key](what_was_seen(data=None, held=None, unread="no feed")) == (None, "no feed")


def test_who_breaks_is_not_blamed_for_being_broken() -> None:
    of_itself = what_was_seen(broken=("read_feed",), during=[])
    assert JUDGES["reads"](of_itself) == (None, "it is comments itself that answers them")


CARD = Card(
    *("mine", "My blog", ("app", "bus"), None, ("app", "bus")),
    (
        Part(
            "contract",
            "The contract",
            (
                Line(Criterion("a", "A holds.", "hint a"), True, "it does"),
                Line(
                    Criterion("b", "B holds.", "hint b", "one-down", "calm"),
                    False,
                    "\x1b[31m<b> & x",
                ),
            ),
        ),
        Part("away", "When it is away", (Line(Criterion("c", "C.", ""), None, "no bus"),)),
    ),
    1.5,
)


def test_a_card_is_told_to_people_and_to_machines() -> None:
    document = json.loads(json.dumps(formats.document(CARD)))
    assert (document["held"], document["not_held"], document["not_seen"]) == (1, 1, 1)
    assert document["parts"][0]["criteria"][1]["hint"] == "hint b"
    assert document["parts"][1]["criteria"][0]["held"] is None
    suite = ElementTree.fromstring(formats.junit(CARD))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    lines = formats.sentences(CARD, "my.toml")
    assert "  held      A holds: it does." in lines
    assert lines[1].startswith("app and bus always listen on the port where the others look for")
    assert "  not seen  no bus." in lines
    assert "1 of 2 held, in 2 s." in lines


def test_a_fault_that_met_nobody_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.card.visitors.EVERY_S", 10.0)  # nobody comes
    monkeypatch.setattr("lab.card.trying.BROKEN_S", 0.1)
    card = asyncio.run(report_card(a_target(), outage("comments-slow")))
    assert told(card)["comments-slow.kept"] is None
    assert "met nobody" in seen(card, "comments-slow.kept")
