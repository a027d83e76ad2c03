from collections.abc import Iterator

import pytest

from tests.support.load_blog import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(monkeypatch)
    with world.runner:
        yield world
