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
from lab.results.result import Data
from tests.programs.mutants import BUGS
from tests.support.laboratory import Laboratory
from tests.support.nats_lab import needs_nats
from tests.support.trials import CALM, Treatment, Trial, try_out

HANGS_AFTER_S = 220.0
CLEAN = (
    *("lost", "duplicated", "diverged", "unsettled", "undecided"),
    *("out_of_order", "resurrected", "refused_kept"),
)

KILLED = {part: Treatment("kill", part) for part in (*SERVICES, BUS)}
BUS_DOWN = Treatment("down", BUS)
QUERY_DOWN = Treatment("down", "query")
COMMENTS_DOWN = Treatment("down", "comments")
MODERATION_DOWN = Treatment("down", "moderation")
MODERATION_SLOW = Treatment("latency", "moderation", {"ms": 300})
IMPATIENT = {"timeout_ms": 100}
COURSE, ON_NATS = {"bus": "course"}, {"bus": "nats"}


def told(figure: str, part: str, bug: str, treatment: Treatment = CALM, **options: str) -> Trial:
    return Trial("async-bus", (treatment,), options, part, bug, figure)


def asked(figure: str, part: str, bug: str, treatment: Treatment = CALM, **more: object) -> Trial:
    return Trial("sync-chain", (treatment,), more, part, bug, figure)


EACH_FIGURE = [
    told("lost", "posts", "acknowledges before the commit", KILLED["posts"]),
    told("duplicated", "moderation", "applies an event twice"),
    told("diverged", "moderation", "tells another verdict than it keeps"),
    told("unsettled", BUS, "drops one event in twenty"),
    told("undecided", "comments", "forgets the verdict"),
    told("out_of_order", "posts", "tells the newest first", BUS_DOWN),
    asked("resurrected", "query", "hides comments it can't get", COMMENTS_DOWN),
    asked("refused_kept", "comments", "stores before it asks", MODERATION_DOWN),
]
OTHERS = [
    # The store: what belongs into one transaction.
    told("lost", "comments", "acknowledges what it rolled back"),
    told("unsettled", "comments", "tells after the transaction", KILLED["comments"]),
    asked("lost", "posts", "acknowledges before the commit", KILLED["posts"]),
    Trial("monolith", (KILLED["posts"],), {}, "monolith", "acknowledges before the commit", "lost"),
    # The relay, and the client of the log.
    told("unsettled", "posts", "tells only the first of several", BUS_DOWN),
    told("unsettled", "comments", "counts as told what was refused", BUS_DOWN),
    told("unsettled", "query", "takes one in ten for nothing"),
    # The inbox.
    told("unsettled", "query", "notes the offset before the rows", KILLED["query"]),
    told("duplicated", "moderation", "notes the offset after the rows", KILLED["moderation"]),
    told("unsettled", "query", "skips one event in five"),
    told("diverged", "query", "applies the newer event first"),
    told("unsettled", "query", "never hears of updates"),
    # The services that publish.
    told("refused_kept", "comments", "refuses after the commit"),
    told("refused_kept", "comments", "keeps what it says it does not know", BUS_DOWN),
    told("resurrected", "query", "shows what it had before"),
    told("out_of_order", "posts", "gives ids without order"),
    # The buses.
    told("unsettled", BUS, "acknowledges, and commits later", KILLED[BUS]),
    told("out_of_order", BUS, "keeps a group backwards", BUS_DOWN),
    told("duplicated", BUS, "forgets ids", KILLED["comments"]),
    told("duplicated", BUS, "posts every event twice", **COURSE),
    told("unsettled", BUS, "does not post one event in ten", **COURSE),
    told("unsettled", "", "", QUERY_DOWN, **COURSE),  # no bug: the course's bus never retries
    told("duplicated", "comments", "tells under a new id each time", KILLED["comments"], **ON_NATS),
    # The services that call others.
    asked("refused_kept", "comments", "calls a timeout a refusal", MODERATION_SLOW, **IMPATIENT),
    asked("duplicated", "comments", "asks again when nobody answers", MODERATION_SLOW, **IMPATIENT),
    asked("duplicated", "posts", "stores a post twice"),
    asked("out_of_order", "query", "shows comments newest first"),
    asked("unsettled", "query", "leaves out the rejected"),
    Trial(
        *("request-reply", (MODERATION_SLOW,), IMPATIENT, "comments"),
        *("asks again when nobody answers", "duplicated"),
    ),
]
"""Each bug: its place, the treatment, and the figure in which the checker must find it."""

SEEDED = [*EACH_FIGURE, *OTHERS]


def controls() -> list[Trial]:
    """Each blog without its bug, treated in all the ways of its bugs."""
    found: dict[tuple[str, str], Trial] = {}
    for one in SEEDED:
        blog = one.arrangement, str(one.options)
        control = found.setdefault(blog, Trial(one.arrangement, (), one.options))
        more = [way for way in one.treatments if one.bug and way not in control.treatments]
        found[blog] = replace(control, treatments=(*control.treatments, *more))
    return list(found.values())


CONTROLS = controls()


def parameters(trials: list[Trial], *quick: Trial) -> list[object]:
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


def verdict(trial: Trial, laboratory: Laboratory, folder: Path) -> Data:
    return laboratory.run(try_out(laboratory.supervisor, folder, trial), HANGS_AFTER_S)


@pytest.mark.parametrize("trial", parameters(SEEDED, *EACH_FIGURE))
def test_a_seeded_bug_is_found_in_its_figure(
    trial: Trial, laboratory: Laboratory, tmp_path: Path
) -> None:
    found = verdict(trial, laboratory, tmp_path)
    assert found.acknowledged > 0
    assert getattr(found, trial.figure) > 0, found


@pytest.mark.parametrize("trial", parameters(CONTROLS, *CONTROLS[:2]))
def test_the_same_blog_without_the_bug_is_found_clean(
    trial: Trial, laboratory: Laboratory, tmp_path: Path
) -> None:
    found = verdict(trial, laboratory, tmp_path)
    assert found.acknowledged > 20
    assert {name: getattr(found, name) for name in CLEAN if getattr(found, name)} == {}, found


def test_every_bug_is_tried_in_a_program_that_there_is() -> None:
    assert {one.bug for one in SEEDED} - {""} == set(BUGS)
    for one in SEEDED:
        assert not one.bug or one.part in ARRANGEMENTS[one.arrangement].parts, one
    assert {one.figure for one in EACH_FIGURE} == set(CLEAN)
    assert [one.arrangement for one in CONTROLS[:2]] == ["async-bus", "sync-chain"]
    assert not any(one.options for one in CONTROLS[:2])
    names = [str(one) for one in (*SEEDED, *CONTROLS)]
    assert len(set(names)) == len(names)
