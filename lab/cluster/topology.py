"""A topology is data: which programs make up an arrangement, and how each is told of the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster.program import Program
from lab.domain.directory import BUS, SERVICES

PRELOAD = (
    "aiohttp.web",
    "requests",
    "lab.bus.log_server",
    *(f"lab.sync_chain.{name}" for name in SERVICES),
    *(f"lab.async_bus.{name}" for name in SERVICES),
    "lab.load.generator",
)
"""What the nursery imports once, so that no program has to."""


@dataclass(frozen=True)
class Arrangement:
    """`package` holds a program for each of the `services`; `bus` is the program of its bus."""

    name: str
    package: str
    services: tuple[str, ...] = SERVICES
    bus: str | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """All there is to break."""
        return (*self.services, BUS) if self.bus else self.services


ARRANGEMENTS = {
    arrangement.name: arrangement
    for arrangement in (
        Arrangement("sync-chain", "lab.sync_chain"),
        Arrangement("async-bus", "lab.async_bus", bus="lab.bus.log_server"),
    )
}


def programs(
    variant: str,
    arrangement: Arrangement,
    options: Mapping[str, Any],
    ports: Mapping[str, int],
    folder: Path,
    token: str,
) -> list[Program]:
    """The programs of one variant, each with its arguments. `ports` has one for each target."""
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    data = folder / "data" / variant
    made = []
    for name in arrangement.targets:
        argv = ["--port", str(ports[name]), "--reuse-port", "--data", str(data)]
        argv += ["--spans", str(folder / f"{variant}.{name}.spans.ndjson")]
        module = f"{arrangement.package}.{name}"
        if name == BUS:
            assert arrangement.bus is not None
            module = arrangement.bus
        elif arrangement.bus:
            argv += ["--bus", urls[BUS]]
        else:
            argv += [
                part for peer in arrangement.services for part in ("--peer", f"{peer}={urls[peer]}")
            ]
        if name != BUS and "workers" in options:
            argv += ["--workers", str(options["workers"])]
        if not arrangement.bus and "timeout_ms" in options:
            argv += ["--timeout-ms", str(options["timeout_ms"])]
        made.append(
            Program(
                name=f"{variant}.{name}",
                module=module,
                argv=tuple(argv),
                log=folder / f"{variant}.{name}.log",
                env={"LAB_TOKEN": token},
                health=f"{urls[name]}/health",
            )
        )
    return made
