"""The rules of posts and comments, independent of the service that stores them."""

import random
import time
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from lab.domain import model
from lab.domain.model import CommentDraft, PostDraft, continue_ids_after, new_id

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")

NOW_NS = 1_700_000_000_000_000_000
HOUR_NS = 3_600_000_000_000


@pytest.fixture(autouse=True)
def restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No identifier was made in this process yet."""
    monkeypatch.setattr(model, "_last_microsecond", 0)


def test_ids_of_one_microsecond_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW_NS)
    ids = [new_id() for _ in range(50)]
    assert ids == sorted(set(ids))


def test_ids_grow_when_the_clock_goes_back_between_two_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW_NS)
    before = new_id()
    monkeypatch.setattr(model, "_last_microsecond", 0)
    monkeypatch.setattr(time, "time_ns", lambda: NOW_NS - HOUR_NS)
    continue_ids_after(before)
    ids = [new_id() for _ in range(50)]
    assert before < min(ids)
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("foreign", ["", "p1", "z" * 14, "1" * 13, "1" * 15, "1K1ggtv0qfwgdx", "-"])
def test_an_id_of_another_form_moves_nothing(foreign: str) -> None:
    continue_ids_after(foreign)
    assert model._last_microsecond == 0


# Characters on which languages differ about white space, and some on which they agree.
CHARACTERS = [chr(code) for code in range(0x2100) if chr(code).isspace()]
CHARACTERS += ["\ufeff", "\u200b", "\u180e", "\x00", "\x1b", "a", "ä", "\U0001f600"]


def is_accepted(draft: type[BaseModel], data: dict[str, Any]) -> bool:
    try:
        draft.model_validate(data)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("draft", "field", "longest"), [(PostDraft, "title", 200), (CommentDraft, "content", 2_000)]
)
def test_the_schema_of_a_text_is_the_rule_of_the_code(
    draft: type[BaseModel], field: str, longest: int
) -> None:
    dice = random.Random(f"{field}")
    validator = jsonschema.Draft202012Validator(draft.model_json_schema())
    lengths = [*range(5), longest - 1, longest, longest + 1]
    texts = [character * length for character in CHARACTERS for length in lengths]
    texts += ["".join(dice.choices(CHARACTERS, k=dice.choice(lengths))) for _ in range(300)]
    texts += [f"\f{'a' * (longest - 1)}", f"\f{'a' * longest}", f"{'a' * longest} "]
    for text in texts:
        data = {field: text}
        assert is_accepted(draft, data) == validator.is_valid(data), ascii(text[:20])


def test_white_space_around_a_text_is_not_stored() -> None:
    assert PostDraft(title="\f Hello \x1c").title == "Hello"
