"""The rules of posts and comments, independent of the service that stores them."""

import time

import pytest

from lab.domain.model import new_id


def test_ids_of_one_microsecond_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    ids = [new_id() for _ in range(50)]
    assert ids == sorted(set(ids))
