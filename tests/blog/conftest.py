"""Fresh blogs for tests that change them permanently."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any

import pytest

from tests.support.laboratory import Laboratory, RunningBlog

BlogWith = Callable[..., AbstractContextManager[RunningBlog]]


@pytest.fixture
def blog_with(request: pytest.FixtureRequest, laboratory: Laboratory) -> BlogWith:
    """`blog_with("async-bus", dedupe=False)`: a fresh stack with these switches."""
    numbers = count(1)
    test = f"{request.module.__name__.rpartition('.')[2]}-{request.node.name}"

    @contextmanager
    def make(arrangement: str = "sync-chain", **switches: Any) -> Iterator[RunningBlog]:
        name = "".join(one if one.isalnum() else "-" for one in f"{test}-{next(numbers)}")
        with laboratory.blog(arrangement, name.removeprefix("test-"), **switches) as blog:
            yield blog

    return make
