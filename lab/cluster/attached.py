"""A blog that is there already: on an engine that starts and supervises it, not on the lab.

    arrangement = "async-bus"
    token_file = "token"
    kill = ["docker", "kill", "{service}"]
    start = ["docker", "start", "{service}"]

    [services.posts]
    url = "http://10.0.0.7:4003"

A file may have several blogs, each under `[blogs.ARRANGEMENT]` with services of its own. Faults at
the door are put on by HTTP, as always. `down` and `hang` are commands of the engine, and the lab
probes whether they did it. What only a process table knows is not measured.
"""

import asyncio
import os
import secrets
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab.cluster.arrangements import ARRANGEMENTS, with_engine
from lab.cluster.errors import LabCannotRun
from lab.cluster.health import probe_health
from lab.cluster.manifest import NODES
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.domain.services import BUS, ENTRY_POINTS, SERVICES
from lab.faults.kinds import DownFault, Fault, HangFault, PartitionFault
from lab.support.http_client import resolve_url
from lab.support.toml_model import FileError, FileType, read_model

# ── The file


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Commands(_Table):
    """Commands of the engine, as lists of words; `{service}` and `{arrangement}` are replaced by
    their names. Without `start`, the engine starts a killed service by itself."""

    kill: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    suspend: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()


class AttachedService(Commands):
    """A service: its URL, and its own commands, where they differ from those of the file.
    `load_url`: its URL for a load on another machine, where that differs."""

    url: str
    load_url: str = ""


class Blog(Commands):
    """One arrangement. `bus`: the URL of a NATS cluster; "" for the lab's log. `options`: the
    switches with which the services were started."""

    arrangement: Literal["async-bus", "sync-chain", "request-reply"] | None = None
    bus: str = ""
    options: dict[str, Any] = {}
    services: dict[str, AttachedService] = {}


class Attachment(Blog):
    """The file: one blog, or several in `blogs`. `token`: that of the services' control routes;
    from `token_file` or LAB_TOKEN if it is not here. `load`: the command that starts the load on
    another machine."""

    name: str
    token: str = Field("", repr=False)
    token_file: Path | None = None
    load: tuple[str, ...] = ()
    blogs: dict[str, Blog] = {}

    def command(self, do: str, service: str) -> list[str]:
        """The words of a command for a service; empty if the file has none."""
        words = getattr(self.services[service], do) or getattr(self, do)
        names = {"{service}": service, "{arrangement}": self.arrangement or ""}
        for placeholder, name in names.items():
            words = [word.replace(placeholder, name) for word in words]
        return list(words)

    def one_by_one(self) -> "list[Attachment]":
        """An attachment for each blog, with the commands of the file where it has none itself."""
        parts = []
        for key, blog in self.blogs.items():
            own = {name: getattr(blog, name) for name in blog.model_fields_set}
            own.setdefault("arrangement", key)
            shared = {name: getattr(self, name) for name in Commands.model_fields}
            common = {"name": self.name, "token": self.token, "load": self.load}
            parts.append(Attachment.model_validate(shared | common | own))
        return parts or [self]

    def why_impossible(self, fault: Fault) -> str | None:
        """Why this fault can't be put on the attached blog, in a sentence; None if it can."""
        needed: tuple[str, ...] = ("kill",) if isinstance(fault, DownFault) else ()
        needed = ("suspend", "resume") if isinstance(fault, HangFault) else needed
        if missing := [do for do in needed if not self.command(do, fault.target)]:
            return (
                f"{self.name} has no command to {' or '.join(missing)} {fault.target}, and "
                f'{fault.kind} needs it: {missing[0]} = ["docker", …, "{{service}}"].'
            )
        if isinstance(fault, PartitionFault):
            return (
                "A partition is a fault of the engine's network, which the lab can neither cut "
                "nor probe from here. Run it without --at."
            )
        if fault.acts_on == "bus":
            return f"The event of {fault.kind} would stay on the bus of a blog that keeps its data."
        return None


ATTACHMENT_FILE = FileType("an attached blog")


def read_attachments(paths: Sequence[Path]) -> list[Attachment]:
    """The blogs of some files; a Compose file as `lab manifest` prints it (.yaml, .yml) is one.

    All names are resolved to addresses. Raises FileError, ValueError with a sentence.
    """
    found = [blog for path in paths for blog in _read_blogs(path)]
    if len(loads := {blog.load for blog in found if blog.load}) > 1:
        raise ValueError(f"All blogs have one load, and the files have {len(loads)} for it.")
    return found


def _read_blogs(path: Path) -> list[Attachment]:
    if path.suffix in (".yaml", ".yml"):
        found = _from_compose(path)
    else:
        found = read_model(Attachment, path, ATTACHMENT_FILE)
    if found.blogs and (found.services or found.arrangement):
        raise ValueError(
            f"{path}: saw [blogs.…] and services beside them. Move these, with their arrangement, "
            "to a table of [blogs] of their own."
        )
    token = found.token or os.environ.get("LAB_TOKEN", "")
    if found.token_file and not found.token:
        try:
            token = (path.parent / found.token_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: token_file can't be read: {error}.") from None
    if not token:
        raise ValueError(
            f"{path}: no token. Faults need the one with which the services were started: in the "
            "environment as LAB_TOKEN, or token_file = PATH."
        )
    try:
        blogs = found.model_copy(update={"token": token}).one_by_one()
    except ValidationError:
        raise FileError(
            path, ["blogs: a name is no arrangement; expected async-bus, or arrangement = there"]
        ) from None
    return [_checked(blog, path) for blog in blogs]


def _checked(found: Attachment, path: Path) -> Attachment:
    """The blog with numeric addresses. Raises ValueError where it is not complete."""
    if not found.arrangement:
        raise ValueError(
            f'{path}: arrangement is missing. Give it a value: arrangement = "async-bus".'
        )
    needed = [*SERVICES, *([BUS] if ARRANGEMENTS[found.arrangement].has_bus else [])]
    if missing := [name for name in needed if name not in found.services]:
        raise ValueError(
            f"{path}: {found.arrangement} has {', '.join(needed)}; no url for {missing[0]}. "
            f'Add [services.{missing[0]}] with url = "http://HOST:PORT".'
        )
    if unknown := [name for name in found.services if name not in needed]:
        raise ValueError(f"{path}: {found.arrangement} has no {unknown[0]!r}. Remove it.")
    services = {
        name: service.model_copy(
            update={
                "url": _resolve(service.url, path),
                "load_url": service.load_url or service.url,  # the machine of the load resolves it
            }
        )
        for name, service in found.services.items()
    }
    return found.model_copy(update={"services": services})


def _resolve(url: str, path: Path) -> str:
    try:
        return resolve_url(url)
    except socket.gaierror as error:
        host = urlsplit(url).hostname
        raise ValueError(f"{path}: {url}: {host} has no IPv4 address ({error.strerror}).") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _from_compose(path: Path) -> Attachment:
    import yaml

    try:
        document = yaml.safe_load(path.read_text("utf-8"))
        arrangement = document["name"].removeprefix("lab-")
        services = {
            name: {"url": f"http://127.0.0.1:{str(service['ports'][0]).split(':')[-2]}"}
            for name, service in document["services"].items()
            if name not in NODES
        }
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}.") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{path} is not a Compose file as `lab manifest ARRANGEMENT --compose` prints it "
            f"({type(error).__name__}: {error}). Describe the blog in a TOML file instead."
        ) from None
    compose = ("docker", "compose", "--file", str(path.absolute()))
    commands = {"kill": "kill", "start": "start", "suspend": "pause", "resume": "unpause"}
    try:
        return Attachment.model_validate(
            {
                "name": path.stem,
                "arrangement": arrangement,
                "bus": f"nats://{NODES[0]}" if BUS in services else "",
                "services": services,
                **{do: (*compose, word, "{service}") for do, word in commands.items()},
            }
        )
    except ValueError:
        raise FileError(
            path, [f"name: saw {document['name']!r}; expected lab-async-bus or its like"]
        ) from None


# ── The engine

COMMAND_WITHIN_S = 60.0
GONE_WITHIN_S = 5.0
BACK_WITHIN_S = 60.0
_POLL_EVERY_S = 0.02


class EngineFailed(LabCannotRun):
    """A command of the engine failed, or did not do what it should."""


class EngineSupervisor(Supervisor):
    """The part of a supervisor that faults need, by commands of the engine. A program is here a
    service, `VARIANT.SERVICE`; its `pid` is the number of its start, because the lab can't see its
    process."""

    def __init__(self, attachment: Attachment) -> None:
        # Not the base class's: it would prepare a fork server, and nothing is started here.
        self._attachment = attachment
        self._starts = dict.fromkeys(attachment.services, 1)
        self._returns: dict[str, asyncio.Task[float]] = {}

    def alive(self, name: str) -> bool:
        return _service(name) not in self._returns

    def pid(self, name: str) -> int:
        return self._starts[_service(name)]

    async def kill(self, name: str) -> None:
        """Return when the port refuses, or after GONE_WITHIN_S: the injection probes it again."""
        service = _service(name)
        await self._run("kill", service)
        give_up_at_s = perf_counter() + GONE_WITHIN_S
        while perf_counter() < give_up_at_s:
            if not await self._is_reachable(service):
                break
            await asyncio.sleep(_POLL_EVERY_S)
        self._returns[service] = asyncio.create_task(self._first_answer(service))

    async def suspend(self, name: str) -> None:
        await self._run("suspend", _service(name))

    async def resume(self, name: str) -> None:
        await self._run("resume", _service(name))

    async def restart(self, name: str, ready_within_s: float = BACK_WITHIN_S) -> float:
        """Return the time of the first answer since the kill, which is before this call if the
        engine restarted the service by itself."""
        service = _service(name)
        returning = self._returns[service]
        try:
            if self._attachment.command("start", service):
                await self._run("start", service)
            url, deadline = self._health_url(service), perf_counter() + BACK_WITHIN_S
            while (health := await probe_health(url)).status != 200 or not returning.done():
                if perf_counter() > deadline:
                    raise EngineFailed(
                        f"{service} is not back {BACK_WITHIN_S:g} s after its restart: "
                        f"{health.reason}. Look at the log that its engine keeps."
                    )
                await asyncio.sleep(_POLL_EVERY_S)
            self._starts[service] += 1
            return returning.result()
        finally:
            returning.cancel()
            del self._returns[service]

    async def _first_answer(self, service: str) -> float:
        while True:
            if (await probe_health(self._health_url(service))).answers:
                return perf_counter()
            await asyncio.sleep(_POLL_EVERY_S)

    async def _is_reachable(self, service: str) -> bool:
        parts = urlsplit(self._attachment.services[service].url)
        try:
            async with asyncio.timeout(1.0):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError:
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True

    def _health_url(self, service: str) -> str:
        return f"{self._attachment.services[service].url}/health"

    async def _run(self, do: str, service: str) -> None:
        words = self._attachment.command(do, service)
        try:
            done = await asyncio.to_thread(
                subprocess.run,
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=COMMAND_WITHIN_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineFailed(f"`{' '.join(words)}` could not {do} {service}: {error}.") from None
        if done.returncode != 0:
            said = done.stdout.strip()[-500:] or "It printed nothing."
            raise EngineFailed(
                f"`{' '.join(words)}` should {do} {service} and exited with status "
                f"{done.returncode}: {said}"
            )


def _service(program: str) -> str:
    return program.rpartition(".")[2]


# ── The stack


class AttachedStack(Stack):
    """The services of an attached blog. It keeps its data, so that each run marks its writes with
    a number of its own (`token_group`)."""

    attached = True

    def __init__(self, name: str, attachment: Attachment, folder: Path) -> None:
        assert attachment.arrangement
        options = {"bus": attachment.bus} if attachment.bus else {}
        arrangement = with_engine(ARRANGEMENTS[attachment.arrangement], options)
        supervisor = EngineSupervisor(attachment)
        self._initialize(name, arrangement, supervisor, folder, attachment.token)
        self.token_group = 10**8 + secrets.randbelow(10**8)
        self.urls = {name: service.url for name, service in attachment.services.items()}
        self.load_command = attachment.load
        services = attachment.services
        self._load_urls = {name: services[name].load_url for name in ENTRY_POINTS}
        self.programs = []
        self._instances: dict[str, tuple[int, object]] = {}

    @property
    def load_urls(self) -> Mapping[str, str]:
        return self._load_urls if self.load_command else self.entry_urls

    async def start(self) -> None:
        """Start nothing: check that each service is there, lets the lab in, and is unbroken.

        Raises LabCannotRun.
        """
        for service, url in self.urls.items():
            health = await probe_health(f"{url}/health", GONE_WITHIN_S)
            if health.status != 200:
                raise LabCannotRun(f"{service} at {url} is not ready: {health.reason}.")
            answer = await self.call("GET", url, "/_lab/state")
            if answer.status == 403:
                raise LabCannotRun(
                    f"{service} at {url} refuses the token. It was started with another one, or "
                    "with none: see LAB_TOKEN, or token_file of the file."
                )
            if not answer.ok:
                raise LabCannotRun(
                    f"{service} at {url} is no service of the lab, or accepts no requests to this "
                    f"address (--allow-host): {answer.error or answer.data}."
                )
            faults = await self.call("GET", url, "/_lab/faults")
            if faults.ok and faults.data:
                raise LabCannotRun(
                    f"{service} at {url} has faults already: {', '.join(faults.data)}. Remove them "
                    "first: DELETE /_lab/faults/NAME."
                )
            if answer.data.get("stuck") or answer.data.get("dead"):
                raise LabCannotRun(
                    f"{service} at {url} has events from before that it could not apply, and a run "
                    "could not tell them from its own. Start it with empty data."
                )
            self._instances[service] = (1, answer.data.get("instance"))

    async def unexpected_restarts(self) -> list[str]:
        """A sentence for each service that has restarted, apart from the restarts of faults."""
        found = []
        for service, (starts, instance) in self._instances.items():
            state = await self.state(service) or {}
            as_expected = state.get("instance") == instance
            if self.supervisor.pid(service) == starts and not as_expected:
                found.append(
                    f"{self.name}: {service} has restarted by itself during the run, or is gone."
                )
        return found
