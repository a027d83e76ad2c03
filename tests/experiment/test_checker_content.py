"""The checker against blogs that store, publish or show other content than was sent.

The blogs are in memory; the load, its probe, the reading of what is stored, and the checker are
those of a run. Each bug must be found in its figure, and the blog without a bug must be clean.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from lab.cluster.stack import Stack
from lab.experiment.checker import check, read_stored_state
from lab.load.generator import run
from lab.load.samples import read_samples
from lab.results.result import CheckerCounts
from tests.programs.mutants_content import BUGS
from tests.support.content_blog import ContentBlog
from tests.support.load_blog import LoadWorld, a_plan, a_variant

MIX = {"read_feed": 6, "create_post": 1, "create_comment": 5}
NORMAL = {"acknowledged", "visible", "unknown", "unknown_kept", "visible_ms"}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadWorld]:
    world = LoadWorld(monkeypatch)
    with world.runner:
        yield world


def checked(world: LoadWorld, blog: ContentBlog, folder: Path, seed: int = 7) -> CheckerCounts:
    """The checker's counts for a blog after some load."""
    world.blog = cast(Any, blog)
    variant = a_variant(seed_posts=[blog.seed])
    settings = {"mix": MIX, "seed": seed, "rate": 120.0, "settle_s": 1, "orange": 0.3}
    phases = [{"name": "before", "seconds": 1}]
    plan = a_plan(folder, variant, phases=phases, reader_delay_s=0.1, **settings)
    with plan.progress.open("a") as progress:
        world.run(run(plan, progress, asyncio.Event()))
    blog.settle()
    stored = world.run(read_stored_state(cast(Stack, blog)))
    return check(read_samples(plan.samples), stored, seed_posts={blog.seed})


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_of_content_is_found_in_its_figure(
    bug: str, world: LoadWorld, tmp_path: Path
) -> None:
    blog = ContentBlog()
    figure, put_into = BUGS[bug]
    put_into(blog)
    found = checked(world, blog, tmp_path)
    assert found.acknowledged > 30
    assert getattr(found, figure), found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reads_until_applied", [0, 2, 20])
def test_a_blog_without_a_bug_is_found_clean(
    seed: int, reads_until_applied: int, world: LoadWorld, tmp_path: Path
) -> None:
    found = checked(world, ContentBlog(reads_until_applied), tmp_path, seed)
    assert found.acknowledged > 30
    assert {name for name, value in found if value} - NORMAL == set()


def test_many_bugs_of_many_kinds_are_tried() -> None:
    assert len(BUGS) >= 40
    figures = {figure for figure, _ in BUGS.values()}
    assert figures >= {"altered", "misplaced", "misjudged", "phantoms", "misshown", "flickered"}
