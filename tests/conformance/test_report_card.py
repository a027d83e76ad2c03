"""`lab check`: the report card of an external system, from what really happened to it."""

import asyncio
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from xml.etree import ElementTree

import pytest

from lab.cluster.program import Exit
from lab.cluster.supervisor import Supervisor
from lab.conformance import formats
from lab.conformance.clients import Feed, LightLoad, SystemClient
from lab.conformance.contract import _ContractCheck
from lab.conformance.judging import JUDGES, OutageObservation
from lab.conformance.outages import OUTAGES
from lab.conformance.report_card import Criterion, CriterionFinding, ReportCard, ReportSection
from lab.conformance.runner import CheckRun, check_system
from lab.experiment.readback import StoredState
from lab.external.arrangement import LOG
from lab.external.programs import PRELOAD
from lab.external.stack import ExternalStack
from lab.external.target import Target
from lab.load.samples import Sample
from lab.results.claims import CLAIMS
from lab.results.result import CheckerCounts
from lab.scenarios import catalogue
from tests.support.command_line import invoke_lab
from tests.support.foreign_blog import ACTIONS, make_odd_blog, make_target
from tests.support.worked_targets import NAMES, REQUIRED_PROGRAM, copy_on_free_ports


def outages_named(*keys: str) -> list:  # type: ignore[type-arg]
    return [line for line in OUTAGES if line.key in keys]


def held_by_key(card: ReportCard) -> dict[str, bool | None]:
    return {line.criterion.key: line.held for line in card.findings}


def observed_of(card: ReportCard, key: str) -> str:
    return next(line.observed for line in card.findings if line.criterion.key == key)


# ── Real systems: all at once, because they mostly wait


def target_on_free_ports(folder: Path) -> Target:
    """The worked target with a cluster's host names, unmoved: its ports are numbers in its code."""
    target = copy_on_free_ports("python-blog", folder)
    for name, line in target.services.items():
        port = str(target.public_port(name))
        command = tuple(word.replace("{port}", port) for word in line.command)
        target.services[name] = line.model_copy(update={"command": command})
    return target


async def make_cards(folder: Path) -> dict[str, ReportCard]:
    shell = copy_on_free_ports("shell-blog", folder / "shell")
    logged = copy_on_free_ports("python-blog", folder / "logged")
    wanted = {
        "python-blog": check_system(
            target_on_free_ports(folder / "named"), outages_named("query-cut", "comments-slow")
        ),
        "with the log": check_system(logged, outages_named("query-cut"), bus=LOG),
        "shell-blog": check_system(shell, outages_named("comments-down", "query-down", "bus-down")),
    }
    if shutil.which(REQUIRED_PROGRAM["node-blog"]):
        wanted["node-blog"] = check_system(
            copy_on_free_ports("node-blog", folder / "node"), outages=()
        )
    return dict(zip(wanted, await asyncio.gather(*wanted.values()), strict=True))


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReportCard]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.conformance.runner.CALM_S", 0.3)
        patch.setattr("lab.conformance.runner.BROKEN_S", 0.6)
        return asyncio.run(make_cards(tmp_path_factory.mktemp("targets")))


@pytest.mark.parametrize("name", NAMES)
def test_the_worked_targets_hold_their_contract(name: str, cards: dict[str, ReportCard]) -> None:
    if name not in cards:
        pytest.skip(f"there is no {REQUIRED_PROGRAM[name]} here, so {name} was not started")
    contract = cards[name].sections[0]
    assert [line for line in contract.findings if line.held is False] == []
    looked_at = [line for line in contract.findings if line.held is not None]
    assert len(looked_at) == (10 if name == "shell-blog" else 11)


def test_a_naive_bus_is_found_out_behind_names(cards: dict[str, ReportCard]) -> None:
    card = cards["python-blog"]
    held = held_by_key(card)
    assert card.without_sidecar == ()
    assert held["query-cut.kept"] is False
    assert "are missing" in observed_of(card, "query-cut.kept")
    assert held["query-cut.reads"] is True
    assert "before that" in observed_of(card, "comments-slow.fast")
    assert held["comments-slow.kept"] is True
    assert not card.passed
    text = "\n".join(formats.to_text(card, "mine.toml"))
    assert "NOT HELD  Nothing that was acknowledged is missing afterwards" in text
    assert "Claim: bus-passes-on. Scenario: lab show dropped-events" in text
    assert "bus-passes-on: What a change in one service means" in text
    assert "lab run downed-service --with mine.toml" in text


def test_with_the_log_in_its_place_nothing_is_missing(cards: dict[str, ReportCard]) -> None:
    card = cards["with the log"]
    held = held_by_key(card)
    assert held.get("query-cut.kept") is True, formats.to_text(card, "mine.toml")
    assert held["bus-remembers"] is True
    assert "bus: the lab's log" in formats.to_text(card, "mine.toml")[0]


def test_a_single_service_is_looked_at_as_far_as_possible(cards: dict[str, ReportCard]) -> None:
    card = cards["shell-blog"]
    held = held_by_key(card)
    assert held["comments-down.kept"] is True  # its files survive the process
    assert held["comments-down.back"] is True
    assert held["comments-down.reads"] is None
    assert "blog was down above already" in observed_of(card, "query-down.kept")
    assert "there is no event-bus here" in observed_of(card, "bus-down.kept")
    assert card.passed


async def test_a_fault_that_met_nobody_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(*_: object) -> list[Sample]:
        return []

    monkeypatch.setattr(LightLoad, "run", nobody)
    async with Supervisor(PRELOAD, tmp_path) as supervisor:
        trying = CheckRun(make_odd_blog("plain", tmp_path), supervisor, tmp_path)
        (slow,) = outages_named("comments-slow")
        part = await trying.check_outage(slow, lambda _: None)
    assert {line.held for line in part.findings} == {None}
    assert "affected no request" in part.findings[0].observed


def test_the_command_prints_a_card_and_writes_junit(tmp_path: Path) -> None:
    app = make_odd_blog("plain", tmp_path).services["app"]
    text = f'services.app = {{ command = {json.dumps(app.command)}, port = 0, port_env = "PORT" }}'
    actions = "".join(f'\nactions.{line}.service = "app"' for line in ACTIONS)
    (tmp_path / "mine.toml").write_text(f"ready_within_s = 100\n{text}{actions}")
    words = ("--contract", "--json", "--junit", "junit.xml")
    done = invoke_lab("check", "mine.toml", *words, cwd=tmp_path)
    assert done.returncode == 0, done
    document = json.loads(done.stdout)
    assert (document["schema"], document["passed"]) == ("lab.conformance/1", True)
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().tag == "testsuites"
    assert "... the contract" in done.stderr


# ── Without processes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[services.comments]\ncommand = "x"\n', "--replace"),
        ('[services.comments]\ncommnad = "x"\n', "mine.toml:2: services.comments.commnad"),
        (None, "can't be read"),
    ],
)
def test_an_incomplete_or_wrong_target_is_refused(
    tmp_path: Path, text: str | None, says: str
) -> None:
    if text is not None:
        (tmp_path / "mine.toml").write_text(text)
    done = invoke_lab("check", "mine.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr


def test_an_empty_feed_has_nothing_to_show_again() -> None:
    class EmptyFeedClient:
        async def feed_until(self, right: object) -> tuple[Feed, str]:
            return [], "not so after 3 s"

    looking = _ContractCheck(cast(ExternalStack, SimpleNamespace(target=make_target(bus="none"))))
    looking._client = cast(SystemClient, EmptyFeedClient())
    asyncio.run(looking.check_replay())
    line = next(one for one in looking.recorder.findings() if one.criterion.key == "replay")
    assert (line.held, line.observed) == (None, "there was nothing to show again: not so after 3 s")


def test_each_criterion_names_a_claim_and_a_scenario() -> None:
    criteria = [line for outage in OUTAGES for line in outage.criteria.values()]
    assert {line.claim for line in criteria} <= CLAIMS.keys()
    assert {line.scenario for line in criteria} <= set(catalogue.builtin_names())
    assert {key for line in OUTAGES for key in line.criteria} == JUDGES.keys()


def checker_data(**of: int) -> CheckerCounts:
    """The checker's figures about nine writes."""
    whole = CheckerCounts(acknowledged=9, visible=9, lost=0, duplicated=0, unsettled=0)
    return whole.model_copy(update=of)


def make_observation(**changed: object) -> OutageObservation:
    good = {"lag_ms": 0.0, "latency_ms": 10.0, "ok": True}
    during = [
        Sample("x", "during", endpoint, 0.0, **good)  # type: ignore[arg-type]
        for endpoint in ("read_feed", "create_post", "create_comment") * 20
    ]
    observation = OutageObservation(
        process="comments",
        own_endpoints=(),
        baseline_ms=9.0,
        during=during,
        writes=[],
        data=checker_data(),
        stored_state=StoredState(feed_only=True),
        unreadable_reason="",
        exits=[],
        recovery_failure="",
    )
    return replace(observation, **changed)  # type: ignore[arg-type]


def failed_samples(count: int, error: str = "http_500") -> list[Sample]:
    return [
        Sample("x", "during", "create_post", 0.0, 0.0, 1.0, error=error, token=f"w-0-{n:06d};")
        for n in range(count)
    ]


ONE_SHOWN = StoredState(feed_only=True, in_feed=Counter(["w-0-000001;"]))
EXITED = Exit("a.posts", 1, ("oh",))
EXITED_WITH_ERROR = Exit("a.posts", 1, ("x: 1", "AxiosError: no", "  isError: true", "v20"))
UNREADABLE = {"data": None, "stored_state": None, "unreadable_reason": "no feed"}


def test_all_is_well_where_all_is_well() -> None:
    verdicts = {key: judge(make_observation())[0] for key, judge in JUDGES.items()}
    assert verdicts == dict.fromkeys(JUDGES, True) | {"honest": None}


@pytest.mark.parametrize(
    ("key", "changed", "verdict", "says"),
    [
        ("posts", {"during": failed_samples(3)}, False, "0 of 3 were (http_500)"),
        ("kept", {"data": checker_data(lost=2)}, False, "2 of 9 are missing"),
        ("decided", {"data": checker_data(unsettled=2)}, False, "2 still wait"),
        ("once", {"data": checker_data(duplicated=1)}, False, "1 are"),
        ("others", {"exits": [EXITED]}, False, "posts exited with status 1: oh"),
        (
            "others",
            {"exits": [EXITED_WITH_ERROR]},
            False,
            "posts exited with status 1: AxiosError: no",
        ),
        ("back", {"recovery_failure": "read_feed: no answer"}, False, "read_feed: no answer"),
        ("fast", {"baseline_ms": -300.0}, False, "half within 10 ms"),
        (
            "honest",
            {"writes": failed_samples(3), "stored_state": ONE_SHOWN},
            False,
            "1 of 3 are there",
        ),
        (
            "honest",
            {"writes": failed_samples(3, "timeout"), "stored_state": ONE_SHOWN},
            None,
            "no request was",
        ),
        *((key, UNREADABLE, None, "no feed") for key in ("kept", "decided", "once", "honest")),
        ("reads", {"own_endpoints": ("read_feed",), "during": []}, None, "it is comments itself"),
    ],
)
def test_a_verdict_says_what_was_seen(
    key: str, changed: dict[str, object], verdict: bool | None, says: str
) -> None:
    held, observed = JUDGES[key](make_observation(**changed))
    assert held is verdict
    assert says in observed


HELD = CriterionFinding(Criterion("a", "A holds.", "hint a"), True, "it does")
BAD = "\x1b[31m<b> & x"
NOT_HELD = CriterionFinding(Criterion("b", "B holds.", "hint b", "one-down", "calm"), False, BAD)
CARD = ReportCard(
    *("mine", "My blog", ("app", "bus"), None, ("app", "bus")),
    (
        ReportSection("contract", "The contract", (HELD, NOT_HELD)),
        ReportSection(
            "away", "When it is away", (CriterionFinding(Criterion("c", "C.", ""), None, "no bus"),)
        ),
    ),
    1.5,
)


def test_a_card_is_told_to_people_and_to_machines() -> None:
    document = json.loads(json.dumps(formats.to_json(CARD)))
    assert (document["held"], document["not_held"], document["not_seen"]) == (1, 1, 1)
    assert document["parts"][0]["criteria"][1]["hint"] == "hint b"
    assert document["parts"][1]["criteria"][0]["held"] is None
    suite = ElementTree.fromstring(formats.to_junit(CARD))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    lines = formats.to_text(CARD, "my.toml")
    assert "  held      A holds: it does." in lines
    assert lines[1].startswith("app and bus always listen on the port that the other services call")
    assert "  not seen  no bus." in lines
    assert "1 of 2 held, in 2 s." in lines
    never = replace(CARD, trouble="app exited.", log=("no database",))
    assert not never.passed
    suite = ElementTree.fromstring(formats.to_junit(never))[0]
    assert suite.get("errors") == "1"
    assert "no database" in (suite.findtext("testcase/error") or "")
