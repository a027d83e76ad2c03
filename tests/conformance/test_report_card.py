"""`lab check`: the report card of an external system, from what really happened to it."""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from lab.cluster.control_client import ControlResponse
from lab.cluster.supervisor import Supervisor
from lab.conformance import formats
from lab.conformance.calm import Controls, calm_section
from lab.conformance.clients import Feed, SystemClient
from lab.conformance.contract import _ContractCheck
from lab.conformance.endings import Ending, crash_reason, find_endings
from lab.conformance.judging import JUDGES, OutageObservation, WriteControl
from lab.conformance.light_load import CheckSample, LightLoad, ProcessorTime, waited_share
from lab.conformance.outages import OUTAGES
from lab.conformance.outcome import Outcome
from lab.conformance.report_card import Criterion, CriterionFinding, ReportCard, ReportSection
from lab.conformance.runner import CheckRun, _NothingTested, check_system
from lab.experiment.readback import StoredState
from lab.external.arrangement import LOG
from lab.external.programs import PRELOAD
from lab.external.stack import ExternalStack
from lab.external.target import Target
from lab.results.claims import CLAIMS
from lab.scenarios import catalogue
from tests.support.command_line import invoke_lab
from tests.support.foreign_blog import (
    ACTIONS,
    few_requests,
    make_odd_blog,
    make_target,
    outages_named,
)
from tests.support.worked_targets import NAMES, REQUIRED_PROGRAM, copy_on_free_ports


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
    with few_requests():
        return asyncio.run(make_cards(tmp_path_factory.mktemp("targets")))


@pytest.mark.parametrize("name", NAMES)
def test_the_worked_targets_hold_their_contract(name: str, cards: dict[str, ReportCard]) -> None:
    if name not in cards:
        pytest.skip(f"there is no {REQUIRED_PROGRAM[name]} here, so {name} was not started")
    contract = cards[name].sections[0]
    assert [line for line in contract.findings if line.held is False] == []
    looked_at = [line for line in contract.findings if line.held is not None]
    assert len(looked_at) == (11 if name == "shell-blog" else 12)


def test_a_naive_bus_is_found_out_behind_names(cards: dict[str, ReportCard]) -> None:
    card = cards["python-blog"]
    held = held_by_key(card)
    assert card.without_sidecar == ()
    assert held["query-cut.kept"] is False, "\n".join(formats.to_text(card, "mine.toml"))
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
    seen = "\n".join(formats.to_text(card, "mine.toml"))
    assert held["comments-down.kept"] is True, seen  # its files survive the process
    assert held["comments-down.back"] is True
    assert held["comments-down.reads"] is None
    assert "blog was down above already" in observed_of(card, "query-down.kept")
    assert "there is no event-bus here" in observed_of(card, "bus-down.kept")
    assert card.passed


async def test_a_fault_that_affected_no_request_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.conformance.light_load._MIXED", ("read_feed",))
    monkeypatch.setattr("lab.conformance.light_load._WRITES_ONLY", ("read_feed",))
    async with Supervisor(PRELOAD, tmp_path) as supervisor:
        trying = CheckRun(make_target(), supervisor, tmp_path)
        _, part = await trying.check_outages(outages_named("comments-slow"))
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
        async def feed_until(self, right: object, within_s: object = None) -> tuple[Feed, str]:
            return [], "not so after 3 s"

    looking = _ContractCheck(cast(ExternalStack, SimpleNamespace(target=make_target(bus="none"))))
    looking._client = cast(SystemClient, EmptyFeedClient())
    asyncio.run(looking.check_replay())
    line = next(one for one in looking.recorder.findings() if one.criterion.key == "replay")
    assert (line.held, line.observed) == (None, "there was nothing to show again: not so after 3 s")


class AnsweringClient:
    """A service that refuses every second post, and answers 422 to what is no JSON."""

    posts = 0

    async def post(self, title: str) -> ControlResponse:
        self.posts += 1
        refused = self.posts % 2 == 0
        return ControlResponse(500 if refused else 201, "", {"id": title, "detail": "no bus"})

    async def comment(self, post_id: str, content: str) -> ControlResponse:
        return ControlResponse(201, "", {"id": content})

    async def call_action_directly(self, action: object, values: object, body: bytes = b"") -> str:
        return "422" if body else "201"

    async def call_directly(self, *_: object) -> tuple[str, bytes]:
        return "404", b""


def test_a_refused_write_says_nothing_about_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody_ended(_: object) -> list[Ending]:
        return []

    monkeypatch.setattr(_ContractCheck, "_unexpected_exits", nobody_ended)
    checking = _ContractCheck(cast(ExternalStack, SimpleNamespace(target=make_target())))
    checking._client = cast(SystemClient, AnsweringClient())

    async def check() -> None:
        await checking.check_ids("a post")
        await checking.check_status_codes("a post")

    asyncio.run(check())
    lines = {line.criterion.key: line for line in checking.recorder.findings()}
    assert lines["ids"].held is None
    assert "written at once, were accepted: no bus" in lines["ids"].observed
    assert lines["nonsense"].observed.startswith("422")


async def test_without_a_first_post_nothing_is_charged_to_the_fault(tmp_path: Path) -> None:
    class RefusingLoad:
        async def first_post(self) -> CheckSample:
            return replace(CheckSample("x", "before", "create_post", 0.0, 0.0), failure="no bus")

    async def nobody_ended(_: object) -> list[Ending]:
        return []

    check_run = CheckRun(make_target(), cast(Supervisor, None), tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.conformance.runner.find_endings", nobody_ended)
        with pytest.raises(_NothingTested, match="no post was accepted before the fault: no bus"):
            await check_run._first_post(cast(LightLoad, RefusingLoad()), cast(ExternalStack, None))
    lines = {line.criterion.key: line.held for line in calm_section(check_run.controls).findings}
    assert lines["calm.posts"] is False


def test_who_waits_for_a_cut_off_reader_is_asked() -> None:
    (cut,) = outages_named("query-cut")
    assert {"posts", "comments", "unanswered"} <= cut.criteria.keys()


def test_each_criterion_names_a_claim_and_a_scenario() -> None:
    criteria = [line for outage in OUTAGES for line in outage.criteria.values()]
    assert {line.claim for line in criteria} <= CLAIMS.keys()
    assert {line.scenario for line in criteria} <= set(catalogue.builtin_names())
    assert {key for line in OUTAGES for key in line.criteria} == JUDGES.keys()


def tokens(count: int) -> frozenset[str]:
    return frozenset(f"w-0-{n:06d};" for n in range(count))


def make_outcome(**changed: Any) -> Outcome:
    """Nine acknowledged writes, six of them comments, and nothing wrong with them."""
    nothing = frozenset[str]()
    good = Outcome(tokens(9), nothing, tokens(6), *([nothing] * 6))
    return replace(good, **changed)


def requests(
    phase: str, count: int = 12, good: int = 12, latency_ms: float = 10.0
) -> list[CheckSample]:
    """`count` requests to each endpoint, of which `good` succeed."""
    samples = []
    for endpoint in ("read_feed", "create_post", "create_comment"):
        for number in range(count):
            sample = CheckSample("x", phase, endpoint, 0.0, 0.0, latency_ms, ok=number < good)
            if not sample.ok:
                sample.error, sample.failure = "http_500", "no bus"
            samples.append(sample)
    return samples


def make_observation(**changed: Any) -> OutageObservation:
    observation = OutageObservation(
        process="comments",
        own_endpoints=(),
        before=requests("before"),
        during=requests("during"),
        after=requests("after"),
        outcome=make_outcome(),
        control=WriteControl(100, 0, 60, 0, 0),
    )
    return replace(observation, **changed)


LATE_TIMEOUTS = [
    replace(sample, lag_ms=50.0, error="timeout") for sample in requests("during", good=0)
]


def without_socket(sample: CheckSample) -> CheckSample:
    return replace(sample, error="no_socket")


STARVED = [replace(sample, waited_share=0.94) for sample in requests("during")]
UNREADABLE = {"outcome": None, "unreadable_reason": "query did not return its feed"}
HALF_BEFORE = {"before": requests("before", good=6)}


def test_all_is_well_where_all_is_well() -> None:
    verdicts = {key: judge(make_observation()) for key, judge in JUDGES.items()}
    not_asked = {key for key, verdict in verdicts.items() if verdict is None}
    assert not_asked == {"honest", "unanswered"}
    assert {verdict[0] for verdict in verdicts.values() if verdict} == {True}


@pytest.mark.parametrize(
    ("key", "changed", "verdict", "says"),
    [
        (
            "posts",
            {"during": requests("during", good=2)},
            False,
            "2 of 12 were (http_500), without the fault 12 of 12",
        ),
        ("posts", {"during": requests("during", good=10)}, True, "10 of 12 were"),
        ("posts", {"during": requests("during", 4, 2)}, None, "too few to tell: 2 of 4 were"),
        (
            "posts",
            {**HALF_BEFORE, "during": requests("during", good=5)},
            None,
            "it is no better without the fault: 5 of 12 were",
        ),
        ("posts", {**HALF_BEFORE, "during": requests("during", good=0)}, False, "0 of 12 were"),
        ("posts", {"during": LATE_TIMEOUTS}, None, "this machine was too busy (36 of 108"),
        (
            "posts",
            {"during": [*LATE_TIMEOUTS, *map(without_socket, LATE_TIMEOUTS)]},
            None,
            "this machine was too busy (it had no socket left for 36 of 144",
        ),
        ("kept", {"outcome": make_outcome(missing=tokens(2))}, False, "2 of 9 are missing"),
        ("kept", {"during": requests("during", good=0)}, True, "of 24 writes during the outage, 0"),
        (
            "kept",
            {
                "outcome": make_outcome(missing=tokens(2)),
                "control": WriteControl(100, missing=20),
            },
            None,
            "it is no better without the fault (20 of 100): 2 of 9 are missing",
        ),
        (
            "kept",
            {"outcome": make_outcome(missing=tokens(9)), "control": WriteControl(100, missing=1)},
            False,
            "9 of 9 are missing",
        ),
        ("decided", {"outcome": make_outcome(waiting=tokens(2))}, False, "2 of 6 still wait"),
        *(
            (key, {"outcome": make_outcome(**wrong), "during": STARVED}, None, "94% of the time")
            for key, wrong in (
                ("kept", {"missing": tokens(2)}),
                ("decided", {"waiting": tokens(2)}),
                ("unanswered", {"unanswered": tokens(3), "unanswered_kept": tokens(3)}),
            )
        ),
        (
            "once",
            {"outcome": make_outcome(doubled=tokens(1)), "during": STARVED},
            False,
            "1 of 9 are",
        ),
        ("once", {"outcome": make_outcome(doubled=tokens(1))}, False, "1 of 9 are"),
        (
            "others",
            {"endings": [Ending("posts", "exited with status 1: oh")]},
            False,
            "posts exited with status 1: oh",
        ),
        *(
            (
                "others",
                {
                    "endings": [Ending("posts", "exited with status 1: no post 9f3a41c7-22")],
                    "control_endings": [Ending(process, how)],
                },
                held,
                seen,
            )
            for process, how, held, seen in (
                ("posts", "exited with status 1: no post 17af0c3e-05", None, "without a fault"),
                ("posts", "exited with status 1: no memory", False, "no post 9f3a41c7-22"),
                ("query", "exited with status 1: no post 17af0c3e-05", False, "posts exited"),
            )
        ),
        ("back", {"recovery_failure": "query exited"}, False, "query exited"),
        (
            "back",
            {"after": requests("after", good=0)},
            False,
            "read_feed: 0 of 12 succeeded (no bus)",
        ),
        (
            "back",
            {"after": [one for one in requests("after", good=0) if "comment" in one.endpoint]},
            False,
            "create_comment: 0 of 12 succeeded (no bus)",
        ),
        ("back", {"after": requests("after", good=11)}, None, "too few to tell: read_feed: 11 of"),
        ("back", {"after": requests("after", good=11)[::-1]}, True, "it does"),
        (
            "fast",
            {"during": requests("during", latency_ms=300.0)},
            False,
            "half within 300 ms, before that 10 ms",
        ),
        (
            "honest",
            {
                "outcome": make_outcome(refused=tokens(9), refused_kept=tokens(9)),
                "control": WriteControl(refused=2, refused_kept=2),
            },
            None,
            "it is no better without the fault (2 of 2): 9 of 9 are in the feed",
        ),
        (
            "honest",
            {"outcome": make_outcome(refused=tokens(3), refused_kept=tokens(1))},
            False,
            "1 of 3 are in the feed; its owner shows no list of its own",
        ),
        (
            "honest",
            {"outcome": make_outcome(refused=tokens(3), owners_read=("create_post",))},
            True,
            "0 of 3 are in the feed or at its owner",
        ),
        (
            "unanswered",
            {"outcome": make_outcome(unanswered=tokens(3), unanswered_kept=tokens(3))},
            False,
            "3 of 3 are in the feed",
        ),
        *((key, UNREADABLE, None, "did not return") for key in ("kept", "decided", "once")),
        ("reads", {"own_endpoints": ("read_feed",), "during": []}, None, "it is comments itself"),
    ],
)
def test_a_verdict_says_what_was_seen(
    key: str, changed: dict[str, Any], verdict: bool | None, says: str
) -> None:
    found = JUDGES[key](make_observation(**changed))
    assert found is not None
    assert found[0] is verdict
    assert says in found[1]


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("posts", {"during": []}),
        ("kept", {"outcome": make_outcome(acknowledged=frozenset())}),
        ("decided", {"moderated": False}),
        ("decided", {"outcome": make_outcome(comments=frozenset())}),
        ("once", {"outcome": make_outcome(missing=tokens(9))}),
        ("back", {"after": []}),
    ],
)
def test_a_criterion_about_nothing_asked_is_left_out(key: str, changed: dict[str, Any]) -> None:
    assert JUDGES[key](make_observation(**changed)) is None


def test_what_fails_without_a_fault_is_a_line_of_its_own() -> None:
    controls = Controls(
        starts=2,
        stretches=[requests("before"), requests("before", good=11)],
        outcomes=[make_outcome(missing=tokens(1))],
        endings=[Ending("query", "exited with status 1: no bus")],
    )
    lines = {line.criterion.key: line for line in calm_section(controls).findings}
    assert lines["calm.starts"].held is True
    assert (lines["calm.posts"].held, lines["calm.posts"].observed) == (
        False,
        "23 of 24 were (no bus)",
    )
    assert (lines["calm.kept"].held, lines["calm.once"].held) == (False, True)
    assert "query exited with status 1: no bus" in lines["calm.others"].observed


def test_timeouts_on_a_busy_machine_are_no_failure() -> None:
    lines = calm_section(Controls(starts=1, stretches=[LATE_TIMEOUTS])).findings
    posts = next(line for line in lines if line.criterion.key == "calm.posts")
    assert posts.held is None
    assert "too busy" in posts.observed


def test_what_a_busy_machine_has_not_done_yet_is_not_missing() -> None:
    outcomes = [make_outcome(missing=tokens(2), waiting=tokens(1))]
    lines = calm_section(Controls(starts=1, stretches=[STARVED], outcomes=outcomes)).findings
    held = {line.criterion.key: line.held for line in lines}
    assert (held["calm.kept"], held["calm.decided"], held["calm.once"]) == (None, None, True)


@pytest.mark.parametrize(
    ("status", "data", "error"),
    [
        (503, {"definite": True}, "refused"),
        (502, {"definite": False}, "reset"),
        (504, {"definite": False}, "timeout"),
        (503, {"answered": True}, "http_503"),
        (500, {"answered": True}, "http_500"),
    ],
)
async def test_only_an_answer_is_an_answer_with_an_error(
    status: int, data: dict[str, Any], error: str
) -> None:
    async def call(*_: object) -> ControlResponse:
        return ControlResponse(status, "", data)

    stack = SimpleNamespace(name="x", call=call, entry_urls={"posts": ""})
    sample = await LightLoad(cast(ExternalStack, stack)).post()
    assert sample.error == error
    refused = Outcome.of([sample], StoredState()).refused
    assert bool(refused) is error.startswith("http_")


def test_waiting_for_a_processor_is_a_share_of_the_work() -> None:
    before = {(1, 1): ProcessorTime(0, 5), (2, 2): ProcessorTime(10, 0)}
    after = {(1, 1): ProcessorTime(100, 905), (3, 3): ProcessorTime(9, 9)}
    assert waited_share(before, after) == pytest.approx(0.9)
    assert waited_share(before, before) == waited_share({}, after) == 0.0


def test_a_thread_that_ended_takes_no_time_back() -> None:
    before = {(1, 1): ProcessorTime(5, 5), (1, 2): ProcessorTime(900, 100)}
    after = {(1, 1): ProcessorTime(35, 15), (1, 3): ProcessorTime(60, 0)}
    assert waited_share(before, after) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("x: 1\nAxiosError: no\n  isError: true\n\nNode.js v20.20.2", "AxiosError: no"),
        (
            "throw er;\n<ref *1> Error: read ECONNRESET\n    at x.js:1\n  self: [Circular *1]\n"
            "}\n\nNode.js v20.20.2\n[nodemon] app crashed - waiting for file changes",
            "<ref *1> Error: read ECONNRESET",
        ),
        ("Error: boom\n  [cause]: Error: deeper\n}\nNode.js v22.1.0\n", "Error: boom"),
        ("Traceback\n  File x\nurllib.error.URLError: <no>\n", "urllib.error.URLError: <no>"),
        ("waiting for a database\n", "waiting for a database"),
        ("", ""),
    ],
)
def test_the_reason_of_a_crash_is_its_error(log: str, reason: str) -> None:
    assert crash_reason(log.split("\n")) == reason


async def test_the_service_that_exited_first_is_named_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ended(stack: object, process: str) -> Ending:
        return Ending(process, "exited")

    monkeypatch.setattr("lab.conformance.endings._ending_of", ended)
    exits = [SimpleNamespace(name="x.event-bus"), SimpleNamespace(name="x.comments")]
    stack = SimpleNamespace(
        arrangement=SimpleNamespace(processes=("comments", "event-bus")),
        program_name="x.{}".format,
        supervisor=SimpleNamespace(unexpected_exits=lambda: exits),
    )
    found = await find_endings(cast(ExternalStack, stack))
    assert [ending.process for ending in found] == ["event-bus", "comments"]


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
