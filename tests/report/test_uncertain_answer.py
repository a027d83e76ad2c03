"""What a report says about a late load, a fault not as declared, and what never happened."""

from random import Random

from lab.experiment.evaluate import unproved_figures
from lab.report.answer import build_answer
from lab.report.answer_rows import AnswerRow
from lab.report.sections import SHARED_CORES
from lab.results.result import Expectation, LatencyOfAll, Prediction, RunResult
from tests.report.test_tables import flat, rendered_text
from tests.support.busy_generator import Generator, World, frozen


def busy(generator: Generator) -> RunResult:
    world = World(3, "latency")
    return world.result(generator)


def notes_of(result: RunResult) -> list[str]:
    """The footnotes of the answer, without the one about shared cores that every run has."""
    *notes, shared = build_answer(result).footnotes
    assert shared == SHARED_CORES
    return notes


def test_a_load_in_time_has_no_footnote() -> None:
    assert notes_of(busy(Generator())) == []


def test_a_late_load_that_changes_nothing_says_so() -> None:
    result = busy(Generator(freezes=[(3.0, 3.03)]))
    (note,) = notes_of(result)
    assert note.startswith(f"{result.load.late} of ")
    assert note.endswith("All that is said here is true in spite of it.")


def test_what_is_not_certain_is_named_with_its_ends() -> None:
    result = busy(frozen(Random(1)))
    result.expectations = [
        Expectation(says="The feed waits.", verdict="not measured", reason="Sent late.")
    ]
    notes = notes_of(result)
    assert "What depends on them is not judged." in notes[0]
    assert notes[1] == "Not measured: The feed waits."
    assert any(note.startswith("Not certain: ") and " ms " in note for note in notes)
    assert len(notes) <= 5


def test_success_is_not_better_where_lateness_may_have_made_the_difference() -> None:
    world = World(1, "down")
    true, late = (
        build_answer(world.result(of)) for of in (Generator(), Generator(freezes=[(2.1, 4.4)]))
    )
    better = [
        [
            row.better
            for section in answer.sections
            for row in section.rows
            if row.label == "read the feed" and row.unit == "ok"
        ]
        for answer in (true, late)
    ]
    assert better[0] == ["BUS"]
    assert better[1] in ([], ["unclear"])


def rows_of(result: RunResult) -> dict[str, AnswerRow]:
    sections = build_answer(result).sections
    return {row.alone or row.label: row for section in sections for row in section.rows}


def test_what_a_fault_not_as_declared_has_done_is_not_compared() -> None:
    world = World(1, "down")
    result = world.result(Generator())
    assert rows_of(result)["read the feed"].better == "BUS"
    bus = result.variants[1]
    bus.faults[0].phase, bus.faults[0].doubts = "during", ["it was on for 0.40 of its 4 s"]
    bus.unproved = unproved_figures(bus.faults)
    rows = rows_of(result)
    assert rows["read the feed"].better == "unclear"
    assert rows["lost / duplicated"].better == "unclear"
    assert rows["working again after"].cells[1].text == "–"
    notes = notes_of(result)
    assert notes[0].startswith(
        "async-bus: The fault on `comments` (down) did not act as declared: it was"
    )
    assert "not compared" in notes[1]
    text = rendered_text(result)
    assert "DID NOT ACT AS DECLARED" in text


def test_a_full_report_says_why_something_was_not_measured() -> None:
    result = busy(Generator())
    result.expectations = [
        Expectation(says="The feed waits.", verdict="not measured", reason="Sent far too late.")
    ]
    result.predictions = [
        Prediction(says="Half of it.", predicted=1, measured=2, reason="It may be off by any.")
    ]
    text = flat(rendered_text(result))
    assert "not measured because: Sent far too late." in text
    assert "Not judged: Half of it. It may be off by any." in text


def test_readers_that_saw_less_than_half_never_saw_it() -> None:
    result = busy(Generator())
    for variant, of_all, unseen in zip(result.variants, (None, 40.0), (19, 0), strict=True):
        posts = variant.phases["during"].endpoints["create_post"]
        posts.sent, posts.ok, posts.failed, posts.never_visible = 30, 20, 10, unseen
        posts.visible_of_all_ms = LatencyOfAll(p50=of_all)
    row = rows_of(result)["write a post: until seen"]
    assert [cell.text for cell in row.cells] == ["never: 29 of 30", "40 ms"]
    assert row.better == "BUS"


def test_one_kind_that_never_worked_again_is_named() -> None:
    result = busy(Generator())
    chain = result.variants[0]
    chain.recovery = {"read_feed": 0.1, "create_comment": None}
    chain.recovery_seconds = None
    assert rows_of(result)["working again after"].cells[0].text == "never: write a comment"
    assert "create_comment never" in flat(rendered_text(result))
