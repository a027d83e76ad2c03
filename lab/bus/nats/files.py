"""What the lab's own NATS servers and those who use them tell each other: files in one folder.

    password            shared by all; made by whoever comes first
    event-bus.url       where that server listens for clients, with the password: nats://lab:…@…
    event-bus.route     the port where it listens for the other servers of its cluster
    event-bus.conf      its configuration, and event-bus/ its data

Files, because a server takes a free port and so can't be told of in advance, and because whatever
stands in a command line is read by every user of the machine. The folder and all in it are for
this user alone. Whoever connects reads anew: a server that came back on another port is found.
"""

import json
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

USER = "lab"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class NatsFiles:
    """The files of the servers that share `folder`, which is made if need be."""

    folder: Path

    def make(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def password(self) -> str:
        """The password of all servers here: the one in the file, or a new one."""
        path = self.folder / "password"
        mine = self.folder / f"password.{os.getpid()}"
        _write(mine, secrets.token_urlsafe(24))
        try:
            with suppress(FileExistsError):
                os.link(mine, path)  # whole or not at all, and only if nobody was here before
        finally:
            mine.unlink()
        return path.read_text()

    def urls(self) -> list[str]:
        """Where the servers listen that have started so far."""
        return [path.read_text().strip() for path in sorted(self.folder.glob("*.url"))]

    def tell_port(self, name: str, port: int) -> str:
        """Write down where server `name` listens for clients; its URL."""
        url = f"nats://{USER}:{self.password()}@{HOST}:{port}"
        _write(self.folder / f"{name}.url", url)
        return url

    def last_port(self, name: str) -> int | None:
        """The port that server `name` had when it last ran; None when it never did."""
        try:
            return int((self.folder / f"{name}.url").read_text().rpartition(":")[2])
        except (OSError, ValueError):
            return None

    def choose_route(self, name: str) -> None:
        """Choose a free port for the servers' talk among themselves, and write it down."""
        with socket.socket() as free:
            free.bind((HOST, 0))
            _write(self.folder / f"{name}.route", str(free.getsockname()[1]))

    def routes(self, names: tuple[str, ...]) -> Mapping[str, int] | None:
        """The port of each server of the cluster; None while one has not chosen its own."""
        try:
            return {name: int((self.folder / f"{name}.route").read_text()) for name in names}
        except (OSError, ValueError):
            return None

    def port_in_use(self, name: str) -> int | None:
        """Where server `name` says that it listens for clients; None while it says nothing."""
        for path in (self.folder / name).glob("*.ports"):
            try:
                return int(json.loads(path.read_text())["nats"][0].rpartition(":")[2])
            except (OSError, ValueError, LookupError):
                return None  # It is being written just now.
        return None

    def configure(self, name: str, port: int, routes: Mapping[str, int]) -> Path:
        """Write the configuration of server `name`; `port` -1 takes a free one.

        On disk before it is acknowledged (nats-server's own default is every two minutes), and
        without the monitoring port, which would answer every page in every browser.
        """
        data, password = self.folder / name, self.password()
        data.mkdir(mode=0o700, exist_ok=True)
        for stale in data.glob("*.ports"):
            stale.unlink()  # A killed server could not take it back.
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
        _write(path, "\n".join(lines) + "\n")
        return path


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for this user only."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(new, path)
