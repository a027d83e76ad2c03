"""One request out of a run that was kept: the slowest one, or the one with a certain trace id.

Each row of `samples.csv` names the trace that began with it, so a slow row can be followed into the
services. The client's step begins when the request was due, as its latency does.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from lab.load.plan import WARM_UP
from lab.load.samples import BadSamples, Sample, read_samples
from lab.load.sender import AT_ONCE, ENDPOINTS
from lab.meant import did_you_mean
from lab.scenarios.trace import REQUESTS, client_step
from lab.scenarios.waterfall import Story, joined, read_spans

_BROKEN = "during"


class NoSuchTrace(ValueError):
    """The run has nothing of the kind; the message says what it has."""


def slowest(folder: Path, what: str, variants: Sequence[str] = ()) -> list[Story]:
    """The slowest request of REQUESTS in each variant (all, unless some are named).

    Of the phase `during`, where there is one: that is when something was broken. One that failed
    counts as long as its client waited. Raises NoSuchTrace.
    """
    samples, started_s = _load(folder)
    known = list(dict.fromkeys(sample.variant for sample in samples))
    stories = []
    for variant in variants or known:
        if variant not in known:
            raise NoSuchTrace(f"The run has no variant {variant!r}. {did_you_mean(variant, known)}")
        sent = [
            one
            for one in samples
            if (one.variant, one.endpoint) == (variant, REQUESTS[what])
            and one.latency_ms is not None
            and one.phase != WARM_UP
        ]
        broken = [one for one in sent if one.phase == _BROKEN]
        if not sent:
            raise NoSuchTrace(f"The run sent no {REQUESTS[what]} to {variant}.")
        one = max(broken or sent, key=lambda each: each.latency_ms or 0.0)
        phase = f" of {_BROKEN}" if broken else ""
        why = f"the slowest of {len(broken or sent)}{phase}"
        stories.append(_story(one, folder, started_s, why))
    return stories


def by_id(folder: Path, trace: str) -> list[Story]:
    """The request with this trace id, as a row of `samples.csv` has it. Raises NoSuchTrace."""
    samples, started_s = _load(folder)
    found = [one for one in samples if one.trace == trace.lower() and one.latency_ms is not None]
    if not found:
        raise NoSuchTrace(
            f"No request of this run has the trace id {trace!r}. The last column of "
            f"{folder / 'samples.csv'} has one for each request that was sent."
        )
    return [_story(one, folder, started_s, f"phase {one.phase}") for one in found]


def _story(sample: Sample, folder: Path, started_s: float, why: str) -> Story:
    endpoint = (ENDPOINTS | AT_ONCE)[sample.endpoint]
    request = f"{endpoint.method} {endpoint.path}"
    due_s = started_s + sample.intended_s
    root = client_step(sample.trace, request, due_s, sample.latency_ms or 0.0, sample.error)
    return Story(
        variant=sample.variant,
        trace=sample.trace,
        request=request,
        outcome=sample.error or str(sample.status),
        steps=joined(root, read_spans(folder, sample.variant, {sample.trace})),
        visible_ms=sample.visible_ms,
        why=why,
    )


def _load(folder: Path) -> tuple[list[Sample], float]:
    """The samples, and when the load began (seconds since 1970)."""
    if parts := sorted(one.name for one in folder.glob("[rv]*-*/") if (one / "load.json").exists()):
        raise NoSuchTrace(
            f"{folder} holds several runs, each with a beginning of its own. "
            f"Name one of them: {folder / parts[0]}"
        )
    try:
        samples = read_samples(folder / "samples.csv")
        started_s = float(json.loads((folder / "load.json").read_text("utf-8"))["started_at_unix"])
    except OSError as error:
        raise NoSuchTrace(
            f"{folder} is no run's folder: {Path(error.filename).name}: {error.strerror}. "
            "`lab run` names it when it is done."
        ) from None
    except (BadSamples, KeyError, ValueError, TypeError):
        raise NoSuchTrace(
            f"{folder} was made by a lab that did not write trace ids down yet. Run it again."
        ) from None
    return samples, started_s
