"""A space-time diagram: the order of its rows, its text and its SVG."""

import re
from xml.etree import ElementTree

from lab.report.charts.space_time import space_time_chart
from lab.report.terminal.space_time import space_time_lines
from lab.results.space_time import Arrow, Diagram, Mark, Stretch, time_label
from lab.support.text import to_ascii

DIAGRAM = Diagram(
    "lost: <outbox>",
    "The bus crashes. Comment 1 never reaches `query`.",
    ("client", "comments", "event-bus", "query"),
    arrows=(
        Arrow("request", "client", "comments", 0.0, 1.0, "POST comments (1)"),
        Arrow("event", "comments", "event-bus", 1.0, None, "CommentCreated (1)", "down"),
        Arrow("reply", "comments", "client", 3.0, 4.0, "201"),
    ),
    marks=(
        Mark("crash", "event-bus", 0.0, ""),
        Mark("commit", "comments", 1.0, "1"),
        Mark("good", "client", 4.0, "acknowledged: 1"),
        Mark("start", "event-bus", 50.0, ""),
    ),
    stretches=(Stretch("down", "event-bus", 0.0, 50.0),),
)


def test_an_arrival_comes_before_what_it_causes() -> None:
    rows = [(step.at_ms, step.lifeline, type(step.item).__name__) for step in DIAGRAM.steps()]
    at_one = [(lifeline, kind) for at_ms, lifeline, kind in rows if at_ms == 1]
    assert at_one == [("comments", "Arrow"), ("comments", "Mark"), ("comments", "Arrow")]
    order = [step.row for step in DIAGRAM.steps()]
    assert order == sorted(order)
    assert len({step.row for step in DIAGRAM.steps() if step.at_ms == 1}) == 3


def test_the_text_has_a_line_for_each_message_and_moment_within_eighty_columns() -> None:
    lines = space_time_lines(DIAGRAM)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert re.search(r"●─+✕ +┆ .*CommentCreated \(1\), lost: down", text)
    assert re.search(r"1 ms +●─+►│.*POST comments \(1\)", text)
    assert re.search(r"4 ms +│◄╌+● .*201", text)
    assert "client acknowledged: 1" in text
    assert "┆" not in lines[-1]  # the bus has started again
    six = Diagram("", "", ("client", "posts", "comments", "event-bus", "moderation", "query"))
    assert max(map(len, space_time_lines(six))) <= 80


def test_a_terminal_that_knows_only_ascii_gets_a_drawing_of_ascii() -> None:
    drawn = to_ascii("\n".join(space_time_lines(DIAGRAM)))
    assert "?" not in drawn
    assert re.search(r"1 ms +o-+>\|", drawn)


def test_the_drawing_is_one_svg_that_says_in_words_what_it_shows() -> None:
    svg = space_time_chart(DIAGRAM).svg()
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{space}title") == "lost: <outbox>"
    words = root.findtext(f"{space}desc") or ""
    assert DIAGRAM.caption in words
    assert "CommentCreated (1) from comments to event-bus, lost: down" in words
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    names = {text.text for text in root.iter(f"{space}text")}
    assert set(DIAGRAM.lifelines) <= names


def test_times_are_short() -> None:
    assert [time_label(ms) for ms in (0, 0.25, 3, 999, 12_430)] == [
        *("0 ms", "0.25 ms", "3 ms", "999 ms", "12.4 s")
    ]
