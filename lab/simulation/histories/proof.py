"""A found history on real processes: the same deeds as a scenario file, under load.

The search places a deed between two messages; a real run can't. So the scenario keeps the deeds,
their order and their targets, lets each last for a second and a half, and has writes all the time:
those that meet a deed are what the history is about. A crash at a commit becomes a crash under many
writes, of which one is between its commit and what follows.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.domain.services import BUS
from lab.experiment.runner import Run
from lab.scenarios.scenario import Scenario
from lab.simulation.histories.history import Deed, History
from lab.simulation.histories.judge import COUNTS, Goal

LASTS_S, APART_S, DURING_S = 1.5, 0.5, 4.0
RATE, RATE_AT_COMMITS = 30, 80
SHORTEST_MS = 300.0

_FAULTS = {
    "crash": "down",
    "partition": "partition",
    "slow": "latency",
    "duplicate": "duplicate",
    "drop": "drop",
    "reorder": "reorder",
}
_ONLY_IN_TIME = ("write", "post", "comment", "read", "wait", "restart", "heal")


class NotOnProcesses(ValueError):
    """This history has no counterpart on real processes; the message says why."""


@dataclass(frozen=True)
class Proof:
    """What came of one real run. `happened`: None if the run says nothing; `measured`: the figures
    that decide it."""

    happened: bool | None
    measured: str
    folder: Path


def scenario_text(history: History) -> str:
    """A scenario file with the deeds of the history. Raises NotOnProcesses."""
    at_commit = any(deed.kind == "crash" and deed.point != "now" for deed in history.deeds)
    variant = f"[variants.{history.arrangement}]\n" + "".join(
        f"{name.replace('-', '_')} = {_toml(value)}\n" for name, value in history.options.items()
    )
    sentence = json.dumps(history.verdict.sentence, ensure_ascii=False)
    return (
        f"title = {json.dumps(f'{history.verdict.goal}, found by a search')}\n"
        f"question = {sentence}\n\n"
        f"[load]\nrate = {RATE_AT_COMMITS if at_commit else RATE}\n"
        "mix = { read_feed = 3, create_post = 3, create_comment = 4 }\n\n"
        f"[phases]\nbefore = 1\nduring = {DURING_S:g}\nafter = 3\n\n"
        f"{variant}\n"
        + "".join(f"[[method]]\n{table}\n" for table in _methods(history))
        + f'[[expect]]\nsays = {sentence[:280].rstrip(chr(34))}"\n'
        f"that = {json.dumps(_expression(history))}\n"
    )


def _toml(value: object) -> str:
    return {"on": "true", "off": "false"}.get(str(value), json.dumps(value))


def _methods(history: History) -> Iterator[str]:
    deeds = [deed for deed in history.deeds if deed.kind not in _ONLY_IN_TIME]
    for number, deed in enumerate(deeds):
        fault = _FAULTS.get(deed.kind)
        if fault is None:
            raise NotOnProcesses(f"{deed.kind!r} has no fault that does the same to a process.")
        lines = [f"fault = {json.dumps(fault)}", f"target = {json.dumps(deed.target)}"]
        lines += [f"at = {number * APART_S:g}", f"seconds = {LASTS_S:g}"]
        if fault == "latency":
            lines.append(f"ms = {max(deed.ms, SHORTEST_MS):g}")
        if fault == "partition":
            lines.append(f"from = {json.dumps(_caller(deed, history))}")
        yield "\n".join(lines) + "\n"


def _caller(deed: Deed, history: History) -> str:
    """Whose messages do not arrive. Without a peer: those of the usual caller."""
    if deed.peer:
        return deed.peer
    return BUS if history.arrangement == "async-bus" and deed.target != BUS else "comments"


def _expression(history: History) -> str:
    """What the run has to show: each count that made this history a find. Raises NotOnProcesses."""
    name, figures = history.arrangement, history.verdict.figures
    reached = [path for path in sorted(Goal(history.verdict.goal).paths) if figures.get(path)]
    clauses = [f"{name}.data.{path} >= 1" for path in reached if path in COUNTS]
    if "stale_s" in reached:
        clauses.append(f"{name}.during.create_comment.visible_max >= {1_000 * LASTS_S:g}")
    if not clauses:
        raise NotOnProcesses(f"A run does not measure {' or '.join(reached)}.")
    return " or ".join(clauses)


async def prove(scenario: Scenario, folder: Path, seed: int) -> Proof:
    """Run the scenario of a history once, on real processes, in a new folder. Raises
    LabCannotRun."""
    folder.mkdir(mode=0o700)
    result = await Run(scenario, folder, seed)()
    (found,) = result.expectations
    happened = {"holds": True, "fails": False}.get(found.verdict)
    values = ", ".join(
        f"{path} {'?' if value is None else f'{value:g}'}" for path, value in found.values.items()
    )
    return Proof(happened, values or found.reason or "; ".join(result.problems), folder)
