"""The load of a scenario as a script for k6 (grafana.com/docs/k6): the same rate, mix and phases.

The script is `k6.js` with a plan in front of it. k6 injects no faults, so the comment at its top
has the commands that do, with their times.
"""

import json
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any

from lab.domain.services import BY_HAND_PORTS, MONOLITH, by_hand_url
from lab.results.timeline import WARM_UP_PHASE, FaultWindow
from lab.scenarios.scenario import Scenario

SEED_POSTS = 20
MIN_STRETCH_S = 1.0
SETTLE_S = 2
"""How long the script waits after it wrote these posts, until copies have them."""
_WIDTH = 96
_DIFFERENCES = (
    "k6 measures a latency from the moment of sending. The lab measures from the moment that the "
    "request was due. What k6 could not send in time is a dropped iteration and has no latency.",
    "k6 spaces arrivals evenly. The lab's are a Poisson process, so that queues form by chance.",
    "http_req_duration is without the time to connect: that is http_req_connecting.",
    "Comments go to posts from before the load; in the lab, to posts that the feed has shown.",
    "k6 does not measure when a write is visible, what is missing, or how stale a feed is.",
)


class NotForK6(ValueError):
    """The scenario has no load that k6 can send; the message says why."""


def to_k6(scenario: Scenario) -> str:
    """The script. Raises NotForK6."""
    body = files("lab.scenarios").joinpath("k6.js").read_text("utf-8")
    imports, blank, rest = body.partition("\n\n")
    plan = json.dumps(build_plan(scenario), indent=2, ensure_ascii=False)
    return f"{_header(scenario)}\n{imports}{blank}const PLAN = {plan};\n\n{rest}"


def build_plan(scenario: Scenario) -> dict[str, Any]:
    """What the script needs: URLs of `lab up` by variant, phases, mix. Times in s, rates in 1/s."""
    urls = {
        name: _urls(variant.arrangement or name)
        for name, variant in scenario.variants.items()
        if (variant.arrangement or name) in BY_HAND_PORTS and not variant.closed_loop_users
    }
    if not urls:
        raise NotForK6(
            f"{scenario.name} has no variant that k6 can load: each is a closed loop, or nothing "
            "that `lab up` starts."
        )
    load = scenario.load
    phases = [
        {
            "name": phase.name,
            "from_s": phase.from_s,
            "seconds": phase.seconds,
            "rate": phase.rate or load.rate,
        }
        for phase in (WARM_UP_PHASE, *scenario.timeline().phases)
    ]
    stretches = list(_stretches(phases))
    shortest_s = min(stretch["seconds"] for stretch in stretches)
    if shortest_s < MIN_STRETCH_S:
        raise NotForK6(
            f"{scenario.name} has another rate for {shortest_s:g} s, and k6 takes no load that is "
            f"shorter than {MIN_STRETCH_S:g} s. Without --quick it may be longer."
        )
    return {
        "scenario": scenario.name,
        "urls": urls,
        "mix": {action: weight for action, weight in load.mix.items() if weight},
        "orange": load.orange,
        "timeout_s": load.timeout_ms / 1_000,
        "seed_posts": SEED_POSTS,
        "settle_s": SETTLE_S,
        "phases": phases,
        "stretches": stretches,
    }


def _stretches(phases: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, float]]:
    """The phases joined where they have the same rate: k6 takes no load shorter than a second."""
    for rate, joined in groupby(phases, lambda phase: float(phase["rate"])):
        found = list(joined)
        seconds = sum(phase["seconds"] for phase in found)
        yield {"from_s": found[0]["from_s"], "seconds": seconds, "rate": rate}


def _urls(arrangement: str) -> dict[str, str]:
    services = ("posts", "comments", "query")
    alone = MONOLITH in BY_HAND_PORTS[arrangement]
    return {
        service: by_hand_url(arrangement, MONOLITH if alone else service) for service in services
    }


def _header(scenario: Scenario) -> str:
    variants = [f"VARIANT={name}" for name in build_plan(scenario)["urls"]]
    lines = [
        f"The load of the scenario {scenario.name}, for k6. Written by: lab export",
        "",
        "  lab up both                    in one terminal; others: lab up NAME --set SWITCH=VALUE",
        f"  k6 run -e {variants[0]} FILE    in another; also: {', '.join(variants[1:]) or '-'}",
        "  -e POSTS=URL -e COMMENTS=URL -e QUERY=URL    for a blog that is somewhere else",
        "",
    ]
    if faults := scenario.timeline().faults:
        lines += [
            "k6 breaks nothing. In a third terminal, at the same moment as k6; it first writes "
            f"{SEED_POSTS} posts",
            f"and waits {SETTLE_S} s. A command takes a moment to start: its fault is that late.",
            "",
            *(f"  {_command(window)} &" for window in faults),
            "",
        ]
    if scenario.load.retries or scenario.load.at_once:
        lines += ["Left out: retries of clients, and what an author does at once.", ""]
    lines.append("What k6 counts differently from the lab:")
    for difference in _DIFFERENCES:
        lines += textwrap.wrap(
            difference, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
        )
    return "\n".join(f"// {line}".rstrip() for line in lines)


def _command(window: FaultWindow) -> str:
    """The shell command that injects a fault at its time and removes it again."""
    fault = window.fault
    options = [
        word
        for name, value in fault.settings().items()
        if value is not False
        for word in (f"--{name.replace('_', '-')}", *([] if value is True else [_word(value)]))
    ]
    command = shlex.join(["lab", "fault", fault.kind, fault.target, *options])
    seconds = window.until_s - window.from_s
    heal = shlex.join(["lab", "heal", fault.target, "--kind", fault.kind])
    return f"(sleep {window.from_s + SETTLE_S:g}; {command}; sleep {seconds:g}; {heal})"


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
