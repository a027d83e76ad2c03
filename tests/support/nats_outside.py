"""A NATS server that the lab has not started: an external one with a login and with streams."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.support.nats import find_server
from tests.support.laboratory import eventually

USER, PASSWORD = "teacher", "s@cret/1"
LOGIN = "teacher:s%40cret%2F1"


@dataclass(frozen=True)
class ExternalNats:
    """`host`: the address, as HOST:PORT."""

    host: str

    @property
    def url(self) -> str:
        return f"nats://{LOGIN}@{self.host}"

    async def stream_names(self) -> list[str]:
        """The names of the server's streams, sorted."""
        import nats

        client = await nats.connect(f"nats://{self.host}", user=USER, password=PASSWORD)
        try:
            return sorted(str(one.config.name) for one in await client.jetstream().streams_info())
        finally:
            await client.close()

    async def create_stream(self, name: str) -> None:
        """Create an external stream with one message in it."""
        import nats

        client = await nats.connect(f"nats://{self.host}", user=USER, password=PASSWORD)
        try:
            stream = client.jetstream()
            await stream.add_stream(name=name, subjects=[name])
            await stream.publish(name, b"theirs")
        finally:
            await client.close()


@contextmanager
def external_nats(folder: Path, *, jetstream: bool = True) -> Iterator[ExternalNats]:
    """A server in `folder`, on a free loopback port."""
    folder.mkdir(exist_ok=True)
    lines = [
        'server_name: "outside"',
        'listen: "127.0.0.1:-1"',
        f"ports_file_dir: {json.dumps(str(folder))}",
        f'authorization {{ user: {USER}, password: "{PASSWORD}" }}',
    ]
    if jetstream:
        lines.append(f"jetstream {{ store_dir: {json.dumps(str(folder / 'store'))} }}")
    (folder / "conf").write_text("\n".join(lines))
    command = [str(find_server()), "-c", str(folder / "conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            yield ExternalNats(eventually(lambda: _read_address(folder), "the server's port"))
        finally:
            server.terminate()


def _read_address(folder: Path) -> str:
    for path in folder.glob("*.ports"):
        try:
            return str(json.loads(path.read_text())["nats"][0].removeprefix("nats://"))
        except ValueError:
            break  # the file is just being written
    return ""
