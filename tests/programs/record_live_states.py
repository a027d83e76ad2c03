"""Records what `lab live` measures under each fault: `python -m tests.programs.record_live_states`.

It writes `tests/live/states.ndjson`, from which the tests of the commentary read true states. Each
line is one pane at one moment: calm, under a fault, just healed, or healed for some seconds. A line
has the ticks of the newest three seconds, those of each second as one, and what another client got
from the same blog in the same seconds.
"""

import json
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.domain.services import BUS, SERVICES
from lab.live.panes import Pane, make_panes
from lab.live.sandbox.instances import find_running_labs
from lab.load.metrics import percentile
from tests.support.live_world import NODE, ConsoleThread, run_console

PATH = Path(__file__).parent.parent / "live" / "states.ndjson"
PAIRS = (
    (("sync-chain", "async-bus"), None),
    (("request-reply", "monolith"), None),
    (("async-bus", "sync-chain"), "course"),
)
RATE = 20.0
FAULT_S, JUST_HEALED_S, HEALED_WITHIN_S, READS_PER_S = 4.0, 0.6, 8.0, 5
COUNTED, MEDIANS = ("reads", "posts", "comments"), ("read_ms", "answered_ms", "visible_ms")
MAIN_CALLER = {"posts": "query", "comments": "query", "moderation": "comments", "query": "client"}


def options_of(kind: str, target: str, pane: Pane) -> dict[str, Any]:
    """The options of a fault, as the keys of the page send them."""
    if kind == "partition":
        tells = pane.to_json()["side"] == "tell"
        caller = "comments" if target == BUS else BUS if tells else MAIN_CALLER[target]
        return {"from": caller}
    return {"latency": {"ms": 300}, "error": {"status": 503, "probability": 0.5}}.get(kind, {})


def merge_ticks(ticks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """These parts of ticks as one: sums of requests, medians of medians, the newest of the rest."""
    merged = {key: ticks[-1][key] for key in ("unseen", "missing", "feed_age_ms")}
    # 0 if there was a moment without a request in progress.
    merged["waiting"] = min(tick["waiting"] for tick in ticks)
    for kind in COUNTED:
        errors: dict[str, int] = {}
        for tick in ticks:
            for name, count in tick[kind]["errors"].items():
                errors[name] = errors.get(name, 0) + count
        counts = {key: sum(tick[kind][key] for tick in ticks) for key in ("ok", "failed")}
        merged[kind] = {**counts, "errors": errors}
    for name in MEDIANS:
        median = percentile([tick[name]["p50"] for tick in ticks if tick[name]][-10:], 50)
        merged[name] = None if median is None else {"p50": round(median, 1)}
    merged["nodes"] = {
        name: {key: value for key, value in node.items() if value != NODE[key]}
        for name, node in ticks[-1]["nodes"].items()
    }
    return merged


class OwnClient:
    """Reads the feed of each pane some times a second, in its own threads."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls, self.outcomes = urls, {name: [0, 0] for name in urls}
        self._over = threading.Event()
        for name in urls:
            threading.Thread(target=self._run, args=(name,), daemon=True).start()

    def _run(self, name: str) -> None:
        while not self._over.wait(1 / READS_PER_S):
            threading.Thread(target=self._read, args=(name,), daemon=True).start()

    def _read(self, name: str) -> None:
        outcomes = self.outcomes[name]
        try:
            with urllib.request.urlopen(f"{self._urls[name]}/feed?limit=20", timeout=2):
                outcomes[0] += 1
        except (OSError, urllib.error.URLError):
            outcomes[1] += 1

    def close(self) -> None:
        self._over.set()


@contextmanager
def own_client(names: Sequence[str]) -> Iterator[OwnClient]:
    (lab,) = find_running_labs()
    client = OwnClient({name: lab.stacks[name]["query"] for name in names})
    try:
        yield client
    finally:
        client.close()


class Recorder:
    """Follows one running console, and writes its states."""

    def __init__(self, console: ConsoleThread, panes: Sequence[Pane], file: Any) -> None:
        self._console, self._panes, self._file = console, panes, file
        self._ticks: list[dict[str, Any]] = []
        self._changed_t = 0.0
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with self._console.stream() as screen:
            while True:
                self._ticks.append(screen.until("tick"))
                del self._ticks[:-100]

    def mark_change(self) -> None:
        self._changed_t = self._ticks[-1]["t"] if self._ticks else 0.0

    def forget(self) -> None:
        """Forget the ticks: the console was reset."""
        self._ticks.clear()

    def write(self, phase: str, faults: Mapping[str, Any], client: OwnClient) -> None:
        now_t = self._ticks[-1]["t"]
        since_t = max(self._changed_t, now_t - 3)
        ticks = [tick for tick in self._ticks if tick["t"] > since_t]
        seconds = [
            [tick for tick in ticks if now_t - age - 1 < tick["t"] <= now_t - age]
            for age in (2, 1, 0)
        ]
        for pane in self._panes:
            fault = faults.get(pane.name)
            entry = {
                "arrangement": pane.arrangement,
                "bus": pane.options.get("bus", ""),
                "phase": phase,
                "fault": fault,
                "active": phase == "fault",
                "since_s": round(now_t - self._changed_t, 1),
                "client": dict(zip(("ok", "failed"), client.outcomes[pane.name], strict=True)),
                "seconds": [
                    merge_ticks([tick["halves"][pane.name] for tick in second])
                    for second in seconds
                    if second
                ],
            }
            self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
        self._file.flush()

    def wait_until_calm(self) -> None:
        give_up_at_s = time.perf_counter() + HEALED_WITHIN_S
        while time.perf_counter() < give_up_at_s:
            time.sleep(0.5)
            halves = [half for tick in self._ticks[-10:] for half in tick["halves"].values()]
            if not any(half["reads"]["failed"] or half["feed_age_ms"] > 500 for half in halves):
                return


def record_pair(names: Sequence[str], bus: str | None, file: Any) -> None:
    panes = make_panes(names, bus)
    with (
        tempfile.TemporaryDirectory() as folder,
        run_console(Path(folder), panes=panes, rate=RATE) as console,
    ):
        kept = [pane for pane in panes if bus is None or "bus" in pane.options]
        recorder = Recorder(console, kept, file)
        time.sleep(5)
        with own_client([pane.name for pane in kept]) as client:
            time.sleep(2)
            recorder.write("calm", {}, client)
        for kind in ("down", "hang", "latency", "error", "partition"):
            for target in (*SERVICES, BUS):
                record_fault(console, recorder, kept, kind, target)


def record_fault(
    console: ConsoleThread, recorder: Recorder, panes: Sequence[Pane], kind: str, target: str
) -> None:
    faults = {}
    for pane in panes:
        fault = {"kind": kind, "target": target, "options": options_of(kind, target, pane)}
        if console.request("POST", "/api/fault", {**fault, "half": pane.name})[0] == 200:
            faults[pane.name] = fault
    if not faults:
        return
    recorder.mark_change()
    time.sleep(1)
    with own_client([pane.name for pane in panes]) as client:
        time.sleep(FAULT_S - 1)
        recorder.write("fault", faults, client)
    console.post("/api/heal")
    recorder.mark_change()
    with own_client([pane.name for pane in panes]) as client:
        time.sleep(JUST_HEALED_S)
        recorder.write("just healed", faults, client)
    recorder.wait_until_calm()
    time.sleep(1)
    with own_client([pane.name for pane in panes]) as client:
        time.sleep(1)
        recorder.write("healed", faults, client)
    if any(pane.options.get("bus") == "course" for pane in panes):
        # What this bus has lost is missing ever after: the next fault begins with no data.
        console.post("/api/reset")
        recorder.forget()
        time.sleep(3)
    sys.stdout.write(f"{kind} {target} {list(faults)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with PATH.open("w") as output:
        for pair, engine in PAIRS:
            record_pair(pair, engine, output)
