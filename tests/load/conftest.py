from collections.abc import Iterator

import pytest

from tests.support.load_blog import LoadWorld


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadWorld]:
    world = LoadWorld(monkeypatch)
    with world.runner:
        yield world
