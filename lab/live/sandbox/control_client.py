"""The client of the control server: what `lab fault` and `lab heal` do, without the printing.

These commands must start fast, so the module uses the standard library's `http.client` and imports
nothing slow. `http.client` ignores proxy settings, which is right: the lab is on this machine.
"""

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from lab.live.sandbox.instances import RunningLab, find_running_labs

__all__ = [
    "ControlError",
    "RunningLab",
    "find_lab",
    "find_running_labs",
    "heal",
    "inject_fault",
    "list_faults",
    "send_request",
]

RESPONSE_WITHIN_S = 60.0
"""Long, because healing may restart a process and then waits until it is ready."""

EXIT_USAGE, EXIT_CANNOT_RUN = 2, 3
USAGE_ERROR_STATUSES = (400, 404, 405, 413, 415)


class ControlError(Exception):
    """A request to the lab failed. `exit_code`: 2 when the request is invalid, 3 when the lab can't
    carry it out (it does not run, or its state does not allow it)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def find_lab(pid: int | None = None) -> RunningLab:
    """The running lab, or the one with this pid. Raises ControlError unless exactly one matches."""
    labs = find_running_labs()
    if not labs:
        raise ControlError(
            "No lab is running: start one with `lab up` in another terminal.", EXIT_CANNOT_RUN
        )
    matching = [lab for lab in labs if pid in (None, lab.pid)]
    if len(matching) == 1:
        return matching[0]
    known = "\n  ".join(str(lab) for lab in labs)
    if matching:
        raise ControlError(f"Several labs run. Choose one with --pid:\n  {known}", EXIT_USAGE)
    raise ControlError(f"No lab runs as process {pid}. There is:\n  {known}", EXIT_USAGE)


def inject_fault(
    lab: RunningLab,
    kind: str,
    target: str,
    options: Mapping[str, Any] | None = None,
    stack: str | None = None,
) -> list[str]:
    """Inject a fault into `target`, in each stack that has it or in `stack` alone.

    Returns one line for each action. Raises ControlError."""
    body = {"kind": kind, "target": target, "options": dict(options or {}), "stack": stack}
    return _format_actions(send_request(lab, "POST", "/faults", body))


def heal(
    lab: RunningLab,
    target: str | None = None,
    kind: str | None = None,
    stack: str | None = None,
) -> list[str]:
    """Remove all faults, or those that match, and restart processes that exited by themselves.

    Returns one line for each action, with its evidence. Raises ControlError."""
    filters = {"target": target, "kind": kind, "stack": stack}
    query = urlencode({name: value for name, value in filters.items() if value is not None})
    actions = send_request(lab, "DELETE", f"/faults?{query}" if query else "/faults")
    return _format_actions(actions) or ["Nothing was broken there, so there was nothing to heal."]


def list_faults(lab: RunningLab) -> list[str]:
    """The active faults and the processes that exited by themselves, one line each.

    Raises ControlError."""
    return _format_actions(send_request(lab, "GET", "/faults")) or ["No fault is on."]


def _format_actions(actions: list[dict[str, Any]]) -> list[str]:
    lines = [f"{deed['stack']} {deed['target']}: {deed['says']}" for deed in actions]
    if any(deed["state"] == "failed" for deed in actions):
        raise ControlError("\n".join(lines), EXIT_CANNOT_RUN)
    return lines


def send_request(
    lab: RunningLab, method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    """Send a request to the lab's control server and return the decoded JSON of the response.

    Raises ControlError."""
    parts = urlsplit(lab.url)
    connection = http.client.HTTPConnection(
        parts.hostname or "127.0.0.1", parts.port, timeout=RESPONSE_WITHIN_S
    )
    headers = {"Lab-Token": lab.token, "Content-Type": "application/json"}
    try:
        content = json.dumps(body) if body is not None else None
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        status, data = response.status, json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ControlError(
            f"The lab ({lab}) does not answer: {error or type(error).__name__}. "
            "Is it just ending, or suspended (Ctrl-Z)?",
            EXIT_CANNOT_RUN,
        ) from None
    finally:
        connection.close()
    if status != 200:
        raise ControlError(
            data["detail"], EXIT_USAGE if status in USAGE_ERROR_STATUSES else EXIT_CANNOT_RUN
        )
    return data
