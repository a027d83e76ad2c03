"""A topology is data: which programs make up an arrangement, and how each is told of the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster.program import Program
from lab.domain.directory import BUS, MONOLITH, SERVICES

_CHAIN = {name: f"lab.sync_chain.{name}" for name in SERVICES}
_TOLD = {name: f"lab.async_bus.{name}" for name in SERVICES}
_LOG = {BUS: "lab.bus.log_server"}
_WHOLE = {MONOLITH: "lab.sync_chain.monolith"}


@dataclass(frozen=True)
class Arrangement:
    """`programs` maps each part that is a process of its own to its module.

    `ask_by` is the carrier of questions; None where nobody asks.
    """

    name: str
    programs: Mapping[str, str]
    ask_by: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The processes."""
        return tuple(self.programs)

    @property
    def has_bus(self) -> bool:
        return BUS in self.programs

    @property
    def targets(self) -> tuple[str, ...]:
        """All there is to break: the services, wherever they live, and the bus."""
        return (*SERVICES, BUS) if self.has_bus else SERVICES

    def home(self, target: str) -> str:
        """The process in which a target lives."""
        return target if target in self.programs else MONOLITH


ARRANGEMENTS = {
    arrangement.name: arrangement
    for arrangement in (
        Arrangement("sync-chain", _CHAIN, ask_by="http"),
        Arrangement("async-bus", _TOLD | _LOG),
        Arrangement("request-reply", _CHAIN | _LOG, ask_by="events"),
        Arrangement("monolith", _WHOLE, ask_by="call"),
    )
}

PRELOAD = (
    "aiohttp.web",
    "requests",
    *(_LOG | _WHOLE).values(),
    *_CHAIN.values(),
    *_TOLD.values(),
    "lab.sync_chain.ask_by_events",
    "lab.load.generator",
)
"""What the nursery imports once, so that no program has to."""


def programs(
    variant: str,
    arrangement: Arrangement,
    options: Mapping[str, Any],
    ports: Mapping[str, int],
    folder: Path,
    token: str,
) -> list[Program]:
    """The programs of one variant, each with its arguments. `ports` has one for each part."""
    return [
        Program(
            name=f"{variant}.{part}",
            module=module,
            argv=(
                *("--port", str(ports[part]), "--reuse-port"),
                *("--data", str(folder / "data" / variant)),
                *("--spans", str(folder / f"{variant}.{part}.spans.ndjson")),
                *(_of_the_others(part, arrangement, options, ports) if part != BUS else ()),
            ),
            log=folder / f"{variant}.{part}.log",
            env={"LAB_TOKEN": token},
            health=f"{url(ports[part])}/health",
        )
        for part, module in arrangement.programs.items()
    ]


def _of_the_others(
    part: str, arrangement: Arrangement, options: Mapping[str, Any], ports: Mapping[str, int]
) -> list[str]:
    """What a service is told of the others, and the switches it is given."""
    argv = []
    if arrangement.has_bus:
        argv += ["--bus", url(ports[BUS])]
    if arrangement.ask_by == "events":
        argv += ["--ask-by", "events"]
    if arrangement.ask_by == "http":
        for peer in arrangement.parts:
            argv += ["--peer", f"{peer}={url(ports[peer])}"]
    if arrangement.ask_by in ("http", "events") and "timeout_ms" in options:
        argv += ["--timeout-ms", str(options["timeout_ms"])]
    if "workers" in options:
        argv += ["--workers", str(options["workers"])]
    return argv


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
