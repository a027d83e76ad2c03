"""`lab.search`: what it returns, and how it displays itself."""

import re
from typing import Any

import pytest

import lab
from lab.api import progress
from lab.simulation.histories.history import History


@pytest.fixture(scope="module")
def found() -> Any:
    return lab.search("lost", "outbox=off", histories=3_000)


def test_the_smallest_outage_has_a_history_and_a_sentence(found: Any) -> None:
    assert isinstance(found.history, History)
    assert sorted(found.deeds) == ["`event-bus` crashes", "a client writes comment 1"]
    assert found.sentence == found.history.verdict.sentence
    assert "`query` and `moderation` never get it" in found.sentence


def test_a_notebook_shows_sentence_deeds_and_drawing(found: Any) -> None:
    bundle = found._repr_mimebundle_()
    html, text = bundle["text/html"], bundle["text/plain"]
    for shown in ("<code>query</code>", "event-bus crashes", "CommentCreated (1)", "3 ms</text>"):
        assert shown in html
    assert html.count("<svg") == 1
    for shown in ("`event-bus` crashes", "■", f"{found.tried}"):
        assert shown in text
    assert str(found) == text
    assert len(repr(found)) < 200


def test_a_seed_returns_the_same_history(found: Any) -> None:
    again = lab.search("lost", "outbox=off", seed=found.history.seed, histories=1)
    assert again.history == found.history


def test_without_a_find_it_says_how_many_were_tried() -> None:
    none = lab.search("lost", histories=20)
    assert (none.history, none.deeds, none.chart(), none.tried) == (None, (), None, 20)
    assert none.sentence.startswith("20 histories of async-bus")
    assert "20 histories of async-bus" in none._repr_mimebundle_()["text/html"]


async def test_a_search_runs_beside_the_loop_of_a_notebook() -> None:
    assert lab.search("orphaned > 0", "sync-chain", histories=3_000).history is not None


@pytest.mark.parametrize(
    ("words", "options", "says"),
    [
        (("misssing",), {}, "Did you mean 'missing'"),
        (("lost", "outbx=off"), {}, "Did you mean 'outbox'"),
        (("lost", "sync-chain outbox=off"), {}, "sync-chain has no outbox"),
        (("lost",), {"seed": "x"}, "'x' is no seed"),
        (("lost",), {"histories": 0}, "histories = 0: expected 1 or more."),
        (("lost",), {"seconds": -1}, "seconds = -1: expected 0 or more."),
    ],
)
def test_a_wrong_word_is_refused_with_the_right_one(words: Any, options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        lab.search(*words, **options)


def test_a_notebook_shows_how_many_histories_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    class Line:
        def __init__(self, text: str) -> None:
            lines.append("a line")

        def show(self, text: str) -> None:
            lines.append(text)

        def clear(self) -> None:
            lines.append("")

    monkeypatch.setattr(progress, "NotebookLine", Line)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    lab.search("refused-kept", "sync-chain", histories=50)
    assert lines == []
    lab.search("refused-kept", "sync-chain", histories=101)
    assert lines == ["a line", "100 histories of sync-chain", ""]
