"""What looks at the exercises about things of one's own: a scenario (07) and services (08).

A scenario is run. A service is put beside the blog that is up, and asked, and so are those whose
program does not come up: what they are told is what they would read in a terminal.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

import lab
from checks import Said, nothing
from lab.api.blogs import Blog
from lab.api.own_service import OwnServiceFailed
from lab.api.result import Result
from lab.results.expressions import check, evaluate
from lab.results.paths import ExpressionError
from lab.scenarios.catalogue import find

ASK_WITHIN_S = 5
NINE_IN_TEN = 0.9
VERDICT = {True: "it holds", False: "it does not hold", None: "it can't be told"}

# ── 07 Your own outage ──


async def mended(outage: str, lines: Any) -> Said:
    """A variant of the chain in which readers can read, though moderation hangs."""
    wanted = "a variant `mended` of the chain, with switches, in which 90 % of the feeds are read"
    if lines is ...:
        return nothing(wanted)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "mended.toml"
        file.write_text(f"{outage}\n{lines}\n", encoding="utf-8")
        try:
            scenario = find(str(file))
        except ValueError as error:
            return Said(False, str(error).replace(f"{folder}/", ""), wanted)
        variant = scenario.variants.get("mended")
        if variant is None or variant.arrangement != "sync-chain" or not variant.options:
            named = ", ".join(
                f"{name} ({of.arrangement})" for name, of in scenario.variants.items()
            )
            return Said(False, f"these variants, and none as wanted: {named}", wanted)
        run = await lab.arun(scenario, only="mended", quick=True, keep=folder)
    if not run.valid:
        return Said(False, f"a run that is no result: {' '.join(run.problems)}", wanted)
    during = run["mended"].phase("during")
    read, written = during["read_feed"].success, during["create_comment"].success
    seen = f"{read:.0%} of the feeds were read, and {written:.0%} of the comments written"
    return Said(read >= NINE_IN_TEN, seen, wanted)


def can_fail(that: Any, run: Result) -> Said:
    """A comparison about the bus that holds in a run, and would not if nothing had been broken."""
    wanted = "a comparison of `async-bus.during…` with `async-bus.before…` that could also fail"
    if that is ...:
        return nothing(wanted)
    try:
        check(str(that), [one.name for one in run.variants], run["async-bus"].phases)
    except ExpressionError as error:
        return Said(False, str(error), wanted)
    calm = run.model_copy(deep=True)
    for variant in calm.variants:
        variant.phases["during"] = variant.phases["before"]
    here, there = evaluate(str(that), run), evaluate(str(that), calm)
    seen = f"in this run {VERDICT[here.holds]}; with nothing broken {VERDICT[there.holds]}"
    if not any(path.startswith("async-bus.during.create_comment.visible") for path in here.values):
        return Said(False, f"{seen}. It does not speak of what is visible on the bus", wanted)
    return Said(here.holds is True and there.holds is False, seen, wanted)


# ── 08 Your own service ──


async def rejected_is_not_found(bus: Blog, file: Path, text: Any) -> Said:
    """A search that does not find what moderation rejected, in the past and from now on."""
    wanted = "each post and comment found by its words, but for those that were rejected"
    if text is ...:
        return nothing(wanted)
    told = {"before it came": "kumquat", "after it came": "medlar"}
    found = {}
    try:
        for when, word in told.items():
            post = await bus.post(f"A {word}")
            await bus.settle()
            await bus.comment(post, f"{word} and orange")
            await bus.comment(post, f"{word} and lemon")
            await bus.settle()
            if not found:
                url = await _added(bus, file, text)
            answer = _asked(url, "/search", word=word)
            found[when] = answer if isinstance(answer, list) else [answer]
    except (OwnServiceFailed, requests.RequestException) as error:
        return Said(False, str(error), wanted)
    wrong = [
        f"of what was told {when} it found {', '.join(map(repr, found[when])) or 'nothing'}"
        for when, word in told.items()
        if sorted(map(str, found[when])) != [f"A {word}", f"{word} and lemon"]
    ]
    return Said(not wrong, "; ".join(wrong) or "all but the oranges, the old and the new", wanted)


async def counts_comments(bus: Blog, file: Path, text: Any) -> Said:
    """A service that counts comments by post, and needs nobody to answer."""
    wanted = "0, 1 and 3 comments, told before it came and since, also while comments is dead"
    if text is ...:
        return nothing(wanted)
    true = {"none": 0, "old": 1, "both": 3}
    ids = {}
    for name in true:
        ids[name] = (await bus.post(f"With comments: {name}"))["id"]
    await bus.settle()
    for name in ("old", "both"):
        await bus.comment(ids[name], "A comment of the past")
    await bus.settle()
    try:
        url = await _added(bus, file, text)
        for content in ("A comment of now", "An orange of now"):
            await bus.comment(ids["both"], content)
        await bus.settle()
        async with bus.fault("down", "comments"):
            said = {name: _asked(url, f"/counts/{ids[name]}") for name in true}
    except (OwnServiceFailed, requests.RequestException) as error:
        return Said(False, str(error), wanted)
    right = said == {name: {"comments": count} for name, count in true.items()}
    return Said(right, ", ".join(map(str, said.values())), wanted)


async def _added(bus: Blog, file: Path, text: Any) -> str:
    file.parent.mkdir(exist_ok=True)
    file.write_text(str(text), encoding="utf-8")
    url: str = await bus.add(file, empty=True)
    return url


def _asked(url: str, path: str, **query: str) -> Any:
    """What it answers: JSON, or a sentence about what came instead of it."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{url}{path}", params=query, timeout=ASK_WITHIN_S)
    if answer.status_code != 200:
        return f"status {answer.status_code}: {answer.text[:200]}"
    try:
        return answer.json()
    except ValueError:
        return f"no JSON: {answer.text[:200]!r}"
