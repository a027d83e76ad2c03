"""Files in one folder, through which the lab's NATS servers and their clients find each other.

    password            shared by all; created by the first process that needs it
    event-bus.url       where that server listens for clients, with the password: nats://lab:…@…
    event-bus.route     the port where it listens for the other servers of its cluster
    event-bus.conf      its configuration; event-bus/ has its data

They are files because a server takes a free port, which is not known in advance, and because every
user of the machine can read a command line. Only this user can read the folder and its files. A
client reads them at each attempt to connect: it finds a server that came back on another port.
"""

import json
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.support.files import write_private

USER = "lab"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class NatsFiles:
    """The files of the servers that share `folder`."""

    folder: Path

    def create_folder(self) -> None:
        """Create the folder, for this user only, unless it exists."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def password(self) -> str:
        """The password of all servers in the folder; creates it if there is none."""
        path = self.folder / "password"
        temporary = self.folder / f"password.{os.getpid()}"
        write_private(temporary, secrets.token_urlsafe(24))
        try:
            with suppress(FileExistsError):
                os.link(
                    temporary, path
                )  # whole or not at all, and only if no other process was first
        finally:
            temporary.unlink()
        return path.read_text()

    def urls(self) -> list[str]:
        """The URLs for clients of all servers that have started so far."""
        urls: list[str] = []
        with suppress(OSError):  # the folder may be put back from a copy meanwhile
            for path in sorted(self.folder.glob("*.url")):
                with suppress(OSError):
                    urls.append(path.read_text().strip())
        return urls

    def write_port(self, name: str, port: int) -> str:
        """Write down the port where server `name` listens for clients; returns its URL."""
        url = f"nats://{USER}:{self.password()}@{HOST}:{port}"
        write_private(self.folder / f"{name}.url", url)
        return url

    def last_port(self, name: str) -> int | None:
        """The port of server `name` in its last run; None when it never ran."""
        try:
            return int((self.folder / f"{name}.url").read_text().rpartition(":")[2])
        except (OSError, ValueError):
            return None

    def reserve_route_port(self, name: str) -> None:
        """Choose a free port for the traffic within the cluster, and write it down."""
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            write_private(self.folder / f"{name}.route", str(probe.getsockname()[1]))

    def route_ports(self, names: tuple[str, ...]) -> Mapping[str, int] | None:
        """The cluster port of each server; None until all have chosen theirs."""
        try:
            return {name: int((self.folder / f"{name}.route").read_text()) for name in names}
        except (OSError, ValueError):
            return None

    def port_in_use(self, name: str) -> int | None:
        """The port for clients that server `name` reports; None until it does."""
        for path in (self.folder / name).glob("*.ports"):
            try:
                return int(json.loads(path.read_text())["nats"][0].rpartition(":")[2])
            except (OSError, ValueError, LookupError):
                return None  # The server is still writing it.
        return None

    def write_configuration(self, name: str, port: int, routes: Mapping[str, int]) -> Path:
        """Write the configuration of server `name`; returns its path. `port` -1 takes a free port.

        Messages are on disk before they are acknowledged (nats-server's default is every two
        minutes). The monitoring port is off: it would answer every page in every browser.
        """
        data, password = self.folder / name, self.password()
        data.mkdir(mode=0o700, exist_ok=True)
        for stale in data.glob("*.ports"):
            stale.unlink()  # A killed server leaves it behind.
        lines = [
            f"server_name: {_quoted(name)}",
            f"listen: {_quoted(f'{HOST}:{port}')}",
            f"ports_file_dir: {_quoted(str(data))}",
            f"authorization {{ user: {USER}, password: {_quoted(password)} }}",
            "jetstream {",
            f"  store_dir: {_quoted(str(data))}",
            "  sync_interval: always",
            "  max_memory_store: 64MB",
            "}",
        ]
        if routes:
            others = [
                _quoted(f"nats://{USER}:{password}@{HOST}:{route}")
                for other, route in routes.items()
                if other != name
            ]
            lines += [
                "cluster {",
                "  name: lab",
                f"  listen: {_quoted(f'{HOST}:{routes[name]}')}",
                f"  authorization {{ user: {USER}, password: {_quoted(password)} }}",
                f"  routes: [{', '.join(others)}]",
                "}",
            ]
        path = self.folder / f"{name}.conf"
        write_private(path, "\n".join(lines) + "\n")
        return path


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
