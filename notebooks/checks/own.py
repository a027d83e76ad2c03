"""Checks of the exercises on a scenario (07) and on services (08) that students write.

A scenario is run. A service is added to the running blog and called. If its program does not start,
the feedback is the message that a terminal would show.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

import lab
from checks import Feedback, unanswered
from lab.api.blogs import Blog
from lab.api.own_service import OwnServiceFailed
from lab.api.result import Result
from lab.results.expressions import check, evaluate
from lab.results.paths import ExpressionError
from lab.scenarios.catalogue import find

TIMEOUT_S = 5
MIN_SUCCESS = 0.9
VERDICT = {True: "it holds", False: "it does not hold", None: "it cannot be evaluated"}

# ── 07 Your own outage ──


async def mended(outage: str, lines: Any) -> Feedback:
    """A variant of the chain in which readers can read although moderation hangs."""
    wanted = "a variant `mended` of the chain, with switches, in which 90 % of the feeds succeed"
    if lines is ...:
        return unanswered(wanted)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "mended.toml"
        file.write_text(f"{outage}\n{lines}\n", encoding="utf-8")
        try:
            scenario = find(str(file))
        except ValueError as error:
            return Feedback(False, str(error).replace(f"{folder}/", ""), wanted)
        variant = scenario.variants.get("mended")
        if variant is None or variant.arrangement != "sync-chain" or not variant.options:
            named = ", ".join(
                f"{name} ({variant.arrangement})" for name, variant in scenario.variants.items()
            )
            return Feedback(False, f"these variants, none of them as wanted: {named}", wanted)
        run = await lab.arun(scenario, only="mended", quick=True, keep=folder)
    if not run.valid:
        return Feedback(False, f"an invalid run: {' '.join(run.problems)}", wanted)
    during = run["mended"].phase("during")
    read, written = during["read_feed"].success, during["create_comment"].success
    seen = f"{read:.0%} of the feeds succeeded, and {written:.0%} of the comments"
    return Feedback(read >= MIN_SUCCESS, seen, wanted)


def can_fail(that: Any, run: Result) -> Feedback:
    """A comparison about the bus that holds in a run, and would fail without a fault."""
    wanted = "a comparison of `async-bus.during…` with `async-bus.before…` that could also fail"
    if that is ...:
        return unanswered(wanted)
    try:
        check(str(that), [variant.name for variant in run.variants], run["async-bus"].phases)
    except ExpressionError as error:
        return Feedback(False, str(error), wanted)
    calm = run.model_copy(deep=True)
    for variant in calm.variants:
        variant.phases["during"] = variant.phases["before"]
    with_fault, without = evaluate(str(that), run), evaluate(str(that), calm)
    seen = f"in this run {VERDICT[with_fault.holds]}; with nothing broken {VERDICT[without.holds]}"
    if not any(
        path.startswith("async-bus.during.create_comment.visible") for path in with_fault.values
    ):
        return Feedback(False, f"{seen}. It has no visible latency of the bus", wanted)
    return Feedback(with_fault.holds is True and without.holds is False, seen, wanted)


# ── 08 Your own service ──


async def rejected_is_not_found(bus: Blog, file: Path, text: Any) -> Feedback:
    """A search that does not find rejected texts, old or new."""
    wanted = "the search finds each post and comment by its words, except the rejected ones"
    if text is ...:
        return unanswered(wanted)
    words = {"before it was added": "kumquat", "after it was added": "medlar"}
    found = {}
    try:
        for when, word in words.items():
            post = await bus.post(f"A {word}")
            await bus.settle()
            await bus.comment(post, f"{word} and orange")
            await bus.comment(post, f"{word} and lemon")
            await bus.settle()
            if not found:
                url = await _add(bus, file, text)
            answer = _get(url, "/search", word=word)
            found[when] = answer if isinstance(answer, list) else [answer]
    except (OwnServiceFailed, requests.RequestException) as error:
        return Feedback(False, str(error), wanted)
    wrong = [
        f"of the texts written {when} it found {', '.join(map(repr, found[when])) or 'nothing'}"
        for when, word in words.items()
        if sorted(map(str, found[when])) != [f"A {word}", f"{word} and lemon"]
    ]
    return Feedback(not wrong, "; ".join(wrong) or "all except the oranges, old and new", wanted)


async def counts_comments(bus: Blog, file: Path, text: Any) -> Feedback:
    """A service that counts comments by post, and answers without a call to another service."""
    wanted = "0, 1 and 3 comments, written before and after it was added, while comments is down"
    if text is ...:
        return unanswered(wanted)
    true = {"none": 0, "old": 1, "both": 3}
    ids = {}
    for name in true:
        ids[name] = (await bus.post(f"With comments: {name}"))["id"]
    await bus.settle()
    for name in ("old", "both"):
        await bus.comment(ids[name], "A comment of the past")
    await bus.settle()
    try:
        url = await _add(bus, file, text)
        for content in ("A comment of now", "An orange of now"):
            await bus.comment(ids["both"], content)
        await bus.settle()
        async with bus.fault("down", "comments"):
            counts = {name: _get(url, f"/counts/{ids[name]}") for name in true}
    except (OwnServiceFailed, requests.RequestException) as error:
        return Feedback(False, str(error), wanted)
    right = counts == {name: {"comments": count} for name, count in true.items()}
    return Feedback(right, ", ".join(map(str, counts.values())), wanted)


async def _add(bus: Blog, file: Path, text: Any) -> str:
    file.parent.mkdir(exist_ok=True)
    file.write_text(str(text), encoding="utf-8")
    url: str = await bus.add(file, empty=True)
    return url


def _get(url: str, path: str, **query: str) -> Any:
    """The JSON of the response, or a sentence about the response if it is not JSON."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{url}{path}", params=query, timeout=TIMEOUT_S)
    if answer.status_code != 200:
        return f"status {answer.status_code}: {answer.text[:200]}"
    try:
        return answer.json()
    except ValueError:
        return f"not JSON: {answer.text[:200]!r}"
