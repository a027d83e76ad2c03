"""The noise floor of this machine: by how much two equal things differ here.

`calm` runs the chain against itself, under one schedule and at the same time. Whatever lies between
the two is no arrangement's doing: where a process came to lie in memory, which core it got, who was
served first. That does not go away with more requests, so no interval knows of it. Each valid run
of `calm` leaves its figure in the user's state folder, by machine; the newest twenty make the
floor. LAB_STATE in the environment is another folder for it. Where nothing can be written, the
floor is not kept, and nothing else happens.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lab.load.metrics import percentile
from lab.load.plan import WARM_UP
from lab.load.samples import Sample
from lab.scenarios.certainty import NoiseFloor
from lab.scenarios.statistics import median

SCENARIO = "calm"
TWINS = ("sync-chain", "sync-chain-again")
KEPT = 20
FLOOR_PERCENT = 95
ANSWERS_AT_LEAST = 50
"""In all phases together; the medians of fewer differ by the luck of the requests, too."""


class _Measured(BaseModel):
    share: float
    started: str


def apart(samples: Sequence[Sample]) -> float | None:
    """How far the twins of one run of `calm` lie apart: the largest of their endpoints' shares.

    Of the medians over all phases, for nothing is broken in any. None where there were no twins, or
    too few answers.
    """
    shares = []
    for endpoint in {sample.endpoint for sample in samples}:
        answers = [
            [
                one.latency_ms
                for one in samples
                if (one.variant, one.endpoint, one.ok) == (twin, endpoint, True)
                and one.phase != WARM_UP
                and one.latency_ms
            ]
            for twin in TWINS
        ]
        if min(map(len, answers)) >= ANSWERS_AT_LEAST:
            first, again = map(median, answers)
            shares.append(max(first, again) / min(first, again) - 1)
    return max(shares, default=None)


def fingerprint(machine: Mapping[str, Any]) -> str:
    """What makes it this machine and no other, from a run's `environment`."""
    system = str(machine.get("system", "")).partition(" ")[0]
    parts = (machine.get("processor"), machine.get("cores"), system, machine.get("machine"))
    return ", ".join(str(part) for part in parts)


def state_file() -> Path:
    """Where the figures of this user's machines are kept."""
    if own := os.environ.get("LAB_STATE"):
        return Path(own) / "noise.json"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "sync-async-lab" / "noise.json"
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state else Path.home() / ".local" / "state"
    return base / "sync-async-lab" / "noise.json"


def noise_floor(machine: Mapping[str, Any]) -> NoiseFloor:
    """The 95th percentile of what was measured on this machine; assumed where nothing was."""
    kept = _read().get(fingerprint(machine), [])
    share = percentile([one.share for one in kept], FLOOR_PERCENT)
    if share is None:
        return NoiseFloor()
    return NoiseFloor(share=share, runs=len(kept), newest=max(one.started for one in kept))


def keep(machine: Mapping[str, Any], share: float, started: str) -> None:
    """Add what one run of `calm` measured, and forget what is older than the newest twenty."""
    with suppress(OSError, RuntimeError):  # RuntimeError: a user without a home
        path = state_file()
        known = _read()
        same = known.setdefault(fingerprint(machine), [])
        same.append(_Measured(share=round(share, 4), started=started))
        same[:] = same[-KEPT:]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        document = {of: [one.model_dump() for one in all_of] for of, all_of in known.items()}
        partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)


def _read() -> dict[str, list[_Measured]]:
    """Everything that is kept; nothing where the file is not there, or is no such file."""
    try:
        document = json.loads(state_file().read_text(encoding="utf-8"))
        return {
            str(of): [_Measured.model_validate(one) for one in all_of]
            for of, all_of in document.items()
        }
    except (OSError, RuntimeError, ValueError, ValidationError, AttributeError, TypeError):
        return {}
