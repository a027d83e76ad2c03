"""The programs of a foreign system: for each service a keeper that starts it, and its sidecar."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.cluster.link import as_before
from lab.cluster.program import Program
from lab.domain.directory import BUS
from lab.foreign.keeper import ENVIRONMENT
from lab.foreign.made_of import BRIDGE, KEEPER
from lab.foreign.placing import Place
from lab.foreign.target import Target
from lab.foreign.whereabouts import elsewhere

SIDECAR = "lab.foreign.sidecar"
CROSSING = "lab.foreign.crossing"
PRELOAD = (KEEPER, SIDECAR, BRIDGE, CROSSING)
"""What a nursery imports once for such systems."""


@dataclass(frozen=True)
class Parts:
    """Makes the programs of one variant. `found`: where each service is looked for, by the name it
    has in the target; `data`: a folder under which each has one of its own."""

    variant: str
    target: Target
    folder: Path
    data: Path
    token: str
    found: Mapping[str, int]

    def keeper(self, part: str, service: str, place: Place) -> Program:
        """Starts the service; ready when the sidecar before it says so."""
        how, log = self.target.services[service], self._file(part, "log")
        own = self.data / service
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        command, env = how.started_with(place.behind, self.found, own.absolute())
        cwd = str(self.target.cwd_of(service))
        by_name = self.target.environment_of(service, self.found)
        given = as_before() | {"PYTHONUNBUFFERED": "1"} | by_name | env
        return Program(
            f"{self.variant}.{part}",
            KEEPER,
            ("--cwd", cwd, "--log", str(log), "--", *command),
            log,
            env={ENVIRONMENT: json.dumps(given)},  # and not in the arguments: everybody reads those
            health=f"http://127.0.0.1:{place.face}/health",
            keeps=True,
            ready_within_s=self.target.ready_within_s,
            instead=partial(elsewhere, port=place.behind),
        )

    def sidecar(self, part: str, place: Place, ready: str | None) -> Program:
        """Stands before the service; what is not ready is the service, so nobody waits for it."""
        argv = [
            *("--name", part, "--arrangement", self.variant, "--reuse-port"),
            *("--service-port", str(place.behind), "--port", str(place.face)),
            *("--mapping", str(self._mapping()), "--events", self.target.events),
            *("--spans", str(self._file(part, "spans.ndjson"))),
        ]
        if place.moved:
            argv += ["--raw-port", str(place.public)]
        if ready:
            argv += ["--ready", ready]
        for host, port in self.target.hosts_on(self.found).items():
            argv += ["--host", f"{host}={port}"]
        return Program(
            f"{self.variant}.{part}.sidecar",
            SIDECAR,
            tuple(argv),
            self._file(part, "sidecar.log"),
            env={"LAB_TOKEN": self.token},
        )

    def crossing(self, part: str, port: int, place: Place, bus: int, found_at: int) -> Program:
        """Between a service and the lab's own bus. `port`: where the bus tells it; `found_at`:
        where the service looks for the bus."""
        event = self.target.events
        return Program(
            f"{self.variant}.{part}.crossing",
            CROSSING,
            (
                *("--name", part, "--port", str(port), "--reuse-port"),
                *("--service", f"http://127.0.0.1:{place.public}{event}", "--events", event),
                *("--bus", f"http://127.0.0.1:{bus}/events", "--bus-port", str(found_at)),
                *("--mapping", str(self._mapping())),
            ),
            self._file(part, "crossing.log"),
            env={"LAB_TOKEN": self.token},
            health=f"http://127.0.0.1:{port}/health",
        )

    def bridge(self, place: Place, subscribers: Sequence[str]) -> Program:
        """The lab's log where their bus was. `subscribers`: the URLs that events are brought to."""
        argv = ["--port", str(place.behind), "--data", str(self.data / "log")]
        for one in subscribers:
            argv += ["--subscriber", one]
        return Program(
            f"{self.variant}.{BUS}",
            BRIDGE,
            (*argv, "--events", self.target.events),
            self._file(BUS, "log"),
            env={"LAB_TOKEN": self.token},
            health=f"http://127.0.0.1:{place.face}/health",
        )

    def _mapping(self) -> Path:
        """The file that says how they are asked."""
        mapping = self.folder / f"{self.variant}.mapping.json"
        if not mapping.exists():
            file = os.open(mapping, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="utf-8") as out:
                out.write(self.target.actions.model_dump_json())
        return mapping

    def _file(self, part: str, kind: str) -> Path:
        return self.folder / f"{self.variant}.{part}.{kind}"
