"""A tiny course's blog as a target, for the suites that run it; all its ports are free ones."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.conformance.outages import OUTAGES, Outage
from lab.external.target import Target
from tests.support.patience import PATIENCE_S

PROGRAM = Path(__file__).parents[1] / "programs" / "tiny_course.py"
ODD_BLOG = PROGRAM.with_name("odd_blog.py")
ACTIONS = ("create_post", "create_comment", "read_feed")
SERVICES = ("posts", "comments", "query", "moderation")


def outages_named(*keys: str) -> list[Outage]:
    return [outage for outage in OUTAGES if outage.key in keys]


@contextmanager
def few_requests() -> Iterator[None]:
    """Inside the block checks send few requests, and how busy this machine is decides nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.conformance.runner.REQUESTS", 18)
        patch.setattr("lab.conformance.runner.REQUESTS_AFTER", 6)
        patch.setattr("lab.conformance.light_load.REQUEST_TIMEOUT_S", PATIENCE_S)
        patch.setattr("lab.conformance.runner.UNCHANGED_FOR_S", 3.0)
        patch.setattr("lab.cluster.control_client.CONNECTIONS", 10_000)
        patch.setattr("lab.conformance.judging.LATE_SHARE", math.inf)
        patch.setattr("lab.conformance.judging.WAITED_SHARE", math.inf)
        yield


def service(role: str, **env: str) -> dict[str, Any]:
    """One service of the blog, with the address of the bus in its environment."""
    command = [sys.executable, str(PROGRAM), role, "{port}"]
    variables = {"BUS": "{url:event-bus}/events", "DATA": "{data}", **env}
    return {"command": command, "port": 0, "env": variables}


def make_target(name: str = "mine", **overrides: Any) -> Target:
    """The whole blog; `more` are keys of the target, or services by name."""
    subscriber_urls = " ".join(f"{{url:{role}}}/events" for role in SERVICES)
    services = {role: service(role) for role in SERVICES}
    services["event-bus"] = service("event-bus", EVERYBODY=subscriber_urls)
    services |= {key: overrides.pop(key) for key in (*services,) if key in overrides}
    patience = dict.fromkeys(("ready_within_s", "moderated_within_s"), PATIENCE_S)
    settings = {"name": name, "folder": PROGRAM.parent, **patience}
    return Target.model_validate({**settings, "services": services, **overrides})


def make_odd_blog(oddity: str, folder: Path) -> Target:
    """A blog in one process, started in `folder`, that is odd in the way `how` names."""
    command = [sys.executable, str(ODD_BLOG), "{port}", oddity]
    return Target.model_validate(
        {
            "name": oddity,
            "folder": folder,
            "services": {"app": {"command": command, "port": 0, "port_env": "PORT"}},
            "ready_within_s": PATIENCE_S,
            "moderated_within_s": PATIENCE_S,
            "actions": {action: {"service": "app"} for action in ACTIONS},
        }
    )
