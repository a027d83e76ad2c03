"""`lab check` of small blogs that are odd as strangers' blogs are: what their cards say."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.cluster.errors import NotReady
from lab.cluster.supervisor import Supervisor
from lab.conformance import formats
from lab.conformance.report_card import CriterionFinding, ReportCard
from lab.conformance.runner import CheckRun, TooBusyToStart, check_system
from lab.external.programs import PRELOAD
from lab.external.stack import ExternalStack
from lab.external.target import Target
from tests.support.foreign_blog import PROGRAM, few_requests, make_target, outages_named, service


def make_blog(name: str, renamed: dict[str, str], **env: str) -> Target:
    """The tiny course, its services renamed, each with `env` in its environment."""
    target = make_target(name)
    text = target.services["event-bus"].env["EVERYBODY"]
    services = {}
    for role, spec in target.services.items():
        variables = {**spec.env, **env}
        if role == "event-bus":
            variables["EVERYBODY"] = text
            for old, new in renamed.items():
                variables["EVERYBODY"] = variables["EVERYBODY"].replace(f":{old}}}", f":{new}}}")
        spec = spec.model_copy(update={"env": variables})
        services[renamed.get(role, role)] = spec
    return target.model_copy(update={"services": services})


WORDS = "a blog with its own words, and a moderator of another name"
RACING = "a blog in which replay and live delivery meet"
FAILING = "a blog in which every third comment fails"


def blogs() -> dict[str, tuple[Target, list[Any]]]:
    own_words = make_blog(
        "words",
        {"moderation": "judge"},
        WORD="duck",
        MODERATE_AFTER_S="0.3",
        ANSWER="created!",
    ).model_copy(update={"forbidden": "duck"})
    bystander = service("bystander")
    services = {**own_words.services, "bystander": make_target(query=bystander).services["query"]}
    own_words = own_words.model_copy(update={"services": services})
    return {
        WORDS: (own_words, outages_named("comments-slow", "moderation-down")),
        FAILING: (make_blog("failing", {}, FAIL_EVERY="3"), outages_named("comments-slow")),
    }


async def check_outages_only(target: Target, folder: Path) -> ReportCard:
    """Without the contract: this blog replays nothing until the next event."""
    async with Supervisor(PRELOAD, folder) as supervisor:
        sections = await CheckRun(target, supervisor, folder).check_outages(
            outages_named("query-down", "bus-down")
        )
    return ReportCard(target.name, "", (), None, (), tuple(sections), 0.0)


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReportCard]:
    folder = tmp_path_factory.mktemp("racing")

    async def check_all() -> dict[str, ReportCard]:
        checks = {name: check_system(*of) for name, of in blogs().items()}
        checks[RACING] = check_outages_only(make_blog("racing", {}, REPLAY="1"), folder)
        return dict(zip(checks, await asyncio.gather(*checks.values()), strict=True))

    with few_requests():
        return asyncio.run(check_all())


def line_of(card: ReportCard, key: str) -> CriterionFinding:
    found = [line for line in card.findings if line.criterion.key == key]
    assert len(found) == 1, "\n".join(formats.to_text(card, "mine.toml"))
    return found[0]


# ── Words, names, times and ids of their own


def test_their_word_and_their_time_are_theirs(cards: dict[str, ReportCard]) -> None:
    line = line_of(cards[WORDS], "moderation")
    assert line.held is True
    assert "with “duck”: rejected" in line.observed
    assert line_of(cards[WORDS], "calm.decided").held is True


def test_a_moderator_of_another_name_is_found(cards: dict[str, ReportCard]) -> None:
    section = next(one for one in cards[WORDS].sections if one.key == "moderation-down")
    assert section.title == "When judge is down"
    assert line_of(cards[WORDS], "moderation-down.decided").held is False
    assert line_of(cards[WORDS], "moderation-down.comments").held is True


def test_a_blog_without_ids_in_responses_has_a_card(cards: dict[str, ReportCard]) -> None:
    line = line_of(cards[WORDS], "id-in-response")
    assert line.held is False
    assert "It was found in the feed by its text" in line.observed
    ids = line_of(cards[WORDS], "ids")
    assert ids.held is True, ids.observed
    assert line_of(cards[WORDS], "comments-slow.kept").held is True


# ── Before, during and after the fault


def test_a_replay_that_meets_live_events_is_found(cards: dict[str, ReportCard]) -> None:
    line = line_of(cards[RACING], "query-down.once")
    assert line.held is False
    assert line_of(cards[RACING], "calm.once").held is True


def test_a_refused_write_is_found_at_its_owner(cards: dict[str, ReportCard]) -> None:
    line = line_of(cards[RACING], "bus-down.honest")
    assert line.held is False
    assert "in the feed or at its owner" in line.observed


# ── Failures without a fault


async def test_a_late_start_on_a_busy_machine_is_no_failed_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(stack: ExternalStack) -> None:
        raise NotReady(f"{stack.name}.posts", 20.0, "nothing listens", ())

    async def end(*_: str) -> None:
        pass

    monkeypatch.setattr(ExternalStack, "start", start)
    monkeypatch.setattr("lab.conformance.runner.longest_wait_s", lambda stack: 99.0)
    supervisor = cast(Supervisor, SimpleNamespace(end=end))
    check_run = CheckRun(make_target(), supervisor, tmp_path)
    (outage,) = await check_run.check_outages(outages_named("query-down"))
    assert {line.held for line in outage.findings} == {None}
    assert "waited 99 s for a processor" in outage.findings[0].observed
    with pytest.raises(TooBusyToStart, match="posts was not ready within 20 s"):
        await check_run.check_contract()


def test_failures_without_a_fault_are_charged_to_no_fault(cards: dict[str, ReportCard]) -> None:
    card = cards[FAILING]
    line = line_of(card, "calm.comments")
    assert line.held is False
    assert "one of several" in line.observed
    assert line_of(card, "calm.honest").held is True
    assert line_of(card, "calm.posts").held is True
    assert line_of(card, "comments-slow.kept").held is True


async def test_who_ended_before_the_fault_is_not_charged_to_it(tmp_path: Path) -> None:
    """The service still listens for the first post; its command runs on after its end."""
    script = (
        f"{sys.executable} {PROGRAM} moderation {{port}}; echo 'Error: no bus' >&2; exec sleep 600"
    )
    moderation = {**service("moderation"), "command": ["sh", "-c", script]}
    target = make_target("ending", moderation=moderation)
    async with Supervisor(PRELOAD, tmp_path) as supervisor:
        check_run = CheckRun(target, supervisor, tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lab.conformance.runner.REQUESTS", 6)
            _end_moderation_in_the_control(check_run, patch)
            calm, outage = await check_run.check_outages(outages_named("comments-slow"))
    others = next(line for line in calm.findings if line.criterion.key == "calm.others")
    ended = "moderation listens no more, although its command still runs: Error: no bus"
    assert (others.held, others.observed) == (False, ended)
    assert {(line.held, line.observed) for line in outage.findings} == {
        (None, f"{ended}, before the fault")
    }


def _end_moderation_in_the_control(check_run: CheckRun, patch: pytest.MonkeyPatch) -> None:
    """End the service below its wrapper while the outcome of the control is read."""
    import psutil

    note = check_run._note_outcome_before

    async def end_and_note(stack: Any, *of: Any) -> None:
        for pid in stack.supervisor.descendant_pids(stack.program_name("moderation")):
            process = psutil.Process(pid)
            if "tiny_course.py" in " ".join(process.cmdline()) and process.name() != "sh":
                process.kill()
        await note(stack, *of)

    patch.setattr(check_run, "_note_outcome_before", end_and_note)
