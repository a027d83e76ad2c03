"""What the answer says when the load was late."""

from random import Random

from lab.report.answer import build_answer
from lab.results.result import Expectation, RunResult
from tests.support.busy_generator import Generator, World, frozen


def busy(generator: Generator) -> RunResult:
    world = World(3, "latency")
    return world.result(world.measure(generator))


def test_a_load_in_time_has_no_footnote() -> None:
    assert build_answer(busy(Generator())).footnotes == ()


def test_a_late_load_that_changes_nothing_says_so() -> None:
    result = busy(Generator(freezes=[(3.0, 3.03)]))
    (note,) = build_answer(result).footnotes
    assert note.startswith(f"{result.load.late} of ")
    assert note.endswith("All that is said here is true in spite of it.")


def test_what_is_not_certain_is_named_with_its_ends() -> None:
    result = busy(frozen(Random(1)))
    result.expectations = [
        Expectation(says="The feed waits.", verdict="not measured", reason="Sent late.")
    ]
    notes = build_answer(result).footnotes
    assert "What depends on them is not judged." in notes[0]
    assert notes[1] == "Not measured: The feed waits."
    assert any(note.startswith("Not certain: ") and " ms " in note for note in notes)
    assert len(notes) <= 5


def test_success_is_not_better_where_lateness_may_have_made_the_difference() -> None:
    world = World(1, "down")
    true, late = (
        build_answer(world.result(world.measure(of)))
        for of in (Generator(), Generator(freezes=[(2.1, 4.4)]))
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
    assert better[1] in ([], ["–"])
