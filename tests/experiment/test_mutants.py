"""The checker against blogs with real bugs.

A checker that never reports an error may be right or blind. So typical bugs are put into blogs, one
at a time, in new processes and under the lab's own load; some processes are also killed under load.
Each bug must be found, in the figure that is named. The same blogs without the bug, treated in the
same ways, must be clean: otherwise the checker would report errors at random.

`make test` tries one bug per figure, the others are slow.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from lab.domain.services import BUS, SERVICES
from lab.results.result import CheckerCounts
from tests.programs.mutants import BUGS
from tests.support.laboratory import Laboratory
from tests.support.nats_lab import needs_nats
from tests.support.trials import CALM, MutantTrial, Treatment, run_mutant_trial

TRIAL_TIMEOUT_S = 220.0
CLEAN = (
    "lost",
    "duplicated",
    "diverged",
    "unsettled",
    "undecided",
    "out_of_order",
    "resurrected",
    "refused_kept",
)

CONTENT = (
    "altered",
    "misplaced",
    "misjudged",
    "phantoms",
    "misshown",
    "flickered",
    "unmonotonic",
    "unfinished",
)
"""Figures of bugs without processes (`test_checker_content.py`); these blogs are clean of them."""

KILLED = {process: Treatment("kill", process) for process in (*SERVICES, BUS)}
BUS_DOWN = Treatment("down", BUS)
QUERY_DOWN = Treatment("down", "query")
COMMENTS_DOWN = Treatment("down", "comments")
MODERATION_DOWN = Treatment("down", "moderation")
MODERATION_SLOW = Treatment("latency", "moderation", {"ms": 300})
IMPATIENT = {"timeout_ms": 100}
COURSE, ON_NATS = {"bus": "course"}, {"bus": "nats"}


def bus_trial(
    figure: str, process: str, bug: str, treatment: Treatment = CALM, **options: str
) -> MutantTrial:
    return MutantTrial("async-bus", (treatment,), options, process, bug, figure)


def chain_trial(
    figure: str, process: str, bug: str, treatment: Treatment = CALM, **more: object
) -> MutantTrial:
    return MutantTrial("sync-chain", (treatment,), more, process, bug, figure)


EACH_FIGURE = [
    bus_trial("lost", "posts", "acknowledges before the commit", KILLED["posts"]),
    bus_trial("duplicated", "moderation", "applies an event twice"),
    bus_trial("diverged", "moderation", "tells another verdict than it keeps"),
    bus_trial("unsettled", BUS, "drops one event in twenty"),
    bus_trial("undecided", "comments", "forgets the verdict"),
    bus_trial("out_of_order", "posts", "tells the newest first", BUS_DOWN),
    chain_trial("resurrected", "query", "hides comments it can't get", COMMENTS_DOWN),
    chain_trial("refused_kept", "comments", "stores before it asks", MODERATION_DOWN),
]
OTHERS = [
    # The store: what belongs into one transaction.
    bus_trial("lost", "comments", "acknowledges what it rolled back"),
    bus_trial("unsettled", "comments", "tells after the transaction", KILLED["comments"]),
    chain_trial("lost", "posts", "acknowledges before the commit", KILLED["posts"]),
    MutantTrial(
        "monolith", (KILLED["posts"],), {}, "monolith", "acknowledges before the commit", "lost"
    ),
    # The relay, and the client of the log.
    bus_trial("unsettled", "posts", "tells only the first of several", BUS_DOWN),
    bus_trial("unsettled", "comments", "counts as told what was refused", BUS_DOWN),
    bus_trial("unsettled", "query", "takes one in ten for nothing"),
    # The inbox.
    bus_trial("unsettled", "query", "notes the offset before the rows", KILLED["query"]),
    bus_trial("duplicated", "moderation", "notes the offset after the rows", KILLED["moderation"]),
    bus_trial("unsettled", "query", "skips one event in five"),
    bus_trial("diverged", "query", "applies the newer event first"),
    bus_trial("unsettled", "query", "never hears of updates"),
    # The services that publish.
    bus_trial("refused_kept", "comments", "refuses after the commit"),
    bus_trial("refused_kept", "comments", "keeps what it says it does not know", BUS_DOWN),
    bus_trial("resurrected", "query", "shows what it had before"),
    bus_trial("out_of_order", "posts", "gives ids without order"),
    # The buses.
    bus_trial("unsettled", BUS, "acknowledges, and commits later", KILLED[BUS]),
    bus_trial("out_of_order", BUS, "keeps a group backwards", BUS_DOWN),
    bus_trial("duplicated", BUS, "forgets ids", KILLED["comments"]),
    bus_trial("duplicated", BUS, "posts every event twice", **COURSE),
    bus_trial("unsettled", BUS, "does not post one event in ten", **COURSE),
    bus_trial("unsettled", "", "", QUERY_DOWN, **COURSE),  # no bug: the course's bus never retries
    bus_trial(
        "duplicated", "comments", "tells under a new id each time", KILLED["comments"], **ON_NATS
    ),
    # The services that call others.
    chain_trial(
        "refused_kept", "comments", "calls a timeout a refusal", MODERATION_SLOW, **IMPATIENT
    ),
    chain_trial(
        "duplicated", "comments", "asks again when nobody answers", MODERATION_SLOW, **IMPATIENT
    ),
    chain_trial("duplicated", "posts", "stores a post twice"),
    chain_trial("out_of_order", "query", "shows comments newest first"),
    chain_trial("unsettled", "query", "leaves out the rejected"),
    MutantTrial(
        "request-reply",
        (MODERATION_SLOW,),
        IMPATIENT,
        "comments",
        "asks again when nobody answers",
        "duplicated",
    ),
]
"""Each bug: its place, the treatment, and the figure in which the checker must find it."""

SEEDED = [*EACH_FIGURE, *OTHERS]


def controls() -> list[MutantTrial]:
    """Each blog without its bug, treated in all the ways of its bugs."""
    found: dict[tuple[str, str], MutantTrial] = {}
    for one in SEEDED:
        blog = one.arrangement, str(one.options)
        control = found.setdefault(blog, MutantTrial(one.arrangement, (), one.options))
        more = [way for way in one.treatments if one.bug and way not in control.treatments]
        found[blog] = replace(control, treatments=(*control.treatments, *more))
    return list(found.values())


CONTROLS = controls()


def parameters(trials: list[MutantTrial], *quick: MutantTrial) -> list[object]:
    return [
        pytest.param(
            one,
            id=str(one),
            marks=[
                *([] if one in quick else [pytest.mark.slow]),
                *([needs_nats] if one.options == ON_NATS else []),
            ],
        )
        for one in trials
    ]


def run_trial(trial: MutantTrial, laboratory: Laboratory, folder: Path) -> CheckerCounts:
    return laboratory.run(run_mutant_trial(laboratory.supervisor, folder, trial), TRIAL_TIMEOUT_S)


@pytest.mark.parametrize("trial", parameters(SEEDED, *EACH_FIGURE))
def test_a_seeded_bug_is_found_in_its_figure(
    trial: MutantTrial, laboratory: Laboratory, tmp_path: Path
) -> None:
    found = run_trial(trial, laboratory, tmp_path)
    assert found.acknowledged > 0
    assert getattr(found, trial.figure) > 0, found


@pytest.mark.parametrize("trial", parameters(CONTROLS, *CONTROLS[:2]))
def test_the_same_blog_without_the_bug_is_found_clean(
    trial: MutantTrial, laboratory: Laboratory, tmp_path: Path
) -> None:
    found = run_trial(trial, laboratory, tmp_path)
    assert found.acknowledged > 20
    wrong = {name: getattr(found, name) for name in (*CLEAN, *CONTENT) if getattr(found, name)}
    assert wrong == {}, found


def test_every_bug_is_tried_in_a_program_that_there_is() -> None:
    assert {one.bug for one in SEEDED} - {""} == set(BUGS)
    for one in SEEDED:
        assert not one.bug or one.process in ARRANGEMENTS[one.arrangement].processes, one
    assert {one.figure for one in EACH_FIGURE} == set(CLEAN)
    assert [one.arrangement for one in CONTROLS[:2]] == ["async-bus", "sync-chain"]
    assert not any(one.options for one in CONTROLS[:2])
    names = [str(one) for one in (*SEEDED, *CONTROLS)]
    assert len(set(names)) == len(names)
