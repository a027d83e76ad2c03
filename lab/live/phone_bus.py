"""The phones by NATS: `nats-server` sends them their messages, from its own WebSocket listener.

The lab publishes one message for all phones of a half, and the server, a process of its own, sends
it to each. So a phone costs the lab one request when it connects, and nothing after that. A phone
may subscribe to these subjects and publish nothing. Its name in the connection is its signed number
(`phones.py`): the server tells the lab who connects, and a connection without a valid number, or
the fourth with the same one, is closed.

Without the extra `nats`, or where the second port is blocked, a phone reads from the lab itself.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from lab.live.phones import MAX_PHONES, Phone, Phones
from lab.support.files import write_private
from lab.support.nats import find_server, require_client, set_parent_death_signal, terminate

STARTED_WITHIN_S = 10.0
POLL_EVERY_S = 0.01
SUBJECTS = ("phones.left", "phones.right", "phones.all")
_CONFIGURATION = """
server_name: phones
listen: "127.0.0.1:-1"
ports_file_dir: {folder}
websocket {{ host: {host}, port: {port}, no_tls: true, no_auth_user: phone }}
accounts {{
  PHONES: {{ users: [
    {{ user: lab, password: {password} }}
    {{ user: phone, password: {unused},
       permissions: {{ publish: {{ deny: ">" }}, subscribe: {{ allow: ["phones.*"] }} }} }}
  ] }}
  SYS: {{ users: [ {{ user: sys, password: {password} }} ] }}
}}
system_account: SYS
max_connections: {connections}
max_subscriptions: 8
max_payload: 4096
max_control_line: 1024
write_deadline: "5s"
"""


class PhoneBus:
    """A running `nats-server` for the phones. `port`: of its WebSocket listener."""

    def __init__(self, phones: Phones, port: int, publisher: Any, system: Any) -> None:
        self.port = port
        self._phones, self._publisher, self._system = phones, publisher, system
        self._connections: dict[int, Phone] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def publish(self, name: str, data: bytes, side: int | None) -> None:
        """Send a message to the phones of one side, or to all."""
        subject = SUBJECTS[2 if side is None else side]
        sending = asyncio.create_task(self._send(subject, name.encode() + b" " + data))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _send(self, subject: str, payload: bytes) -> None:
        with suppress(Exception):  # the server has ended: phones fall back to the lab itself
            await self._publisher.publish(subject, payload)
            await self._publisher.flush(1)

    async def on_connect(self, message: Any) -> None:
        """A client has connected: it is a phone, or it is closed."""
        event = json.loads(message.data)
        client = event["client"]
        if client.get("user") == "lab":
            return
        phone = self._phones.join(client.get("name", ""), client["id"])
        if phone is None:
            kick = f"$SYS.REQ.SERVER.{event['server']['id']}.KICK"
            with suppress(Exception):  # it has gone already
                await self._system.request(kick, json.dumps({"cid": client["id"]}).encode())
        else:
            self._connections[client["id"]] = phone

    async def on_disconnect(self, message: Any) -> None:
        number = json.loads(message.data)["client"]["id"]
        if phone := self._connections.pop(number, None):
            phone.connections.discard(number)


@asynccontextmanager
async def phone_bus(phones: Phones, folder: Path, port: int) -> AsyncIterator[PhoneBus]:
    """A `nats-server` that the phones of this network reach at `port`; -1 takes a free one.

    Raises NatsNotInstalled, OSError."""
    require_client()
    program, host = find_server(), "0.0.0.0"
    from nats.aio.client import Client

    folder.mkdir(mode=0o700)
    password = secrets.token_urlsafe(24)
    values = {"folder": str(folder), "host": host, "password": password}
    quoted = {name: json.dumps(value) for name, value in values.items()}
    text = _CONFIGURATION.format(
        port=port,
        unused=json.dumps(secrets.token_urlsafe(24)),
        connections=MAX_PHONES + 10,
        **quoted,
    )
    configuration = folder / "phones.conf"
    write_private(configuration, text)
    with (folder / "phones.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, "-c", configuration, stdout=log, stderr=log, preexec_fn=set_parent_death_signal
        )
    publisher, system = Client(), Client()
    try:
        ports = await _listening(process, folder)
        for client, user in ((publisher, "lab"), (system, "sys")):
            await client.connect(ports["nats"], user=user, password=password)
        bus = PhoneBus(phones, int(ports["websocket"].rpartition(":")[2]), publisher, system)
        await system.subscribe("$SYS.ACCOUNT.PHONES.CONNECT", cb=bus.on_connect)
        await system.subscribe("$SYS.ACCOUNT.PHONES.DISCONNECT", cb=bus.on_disconnect)
        await system.flush()
        phones.on_send, phones.nats_port = bus.publish, bus.port
        yield bus
    finally:
        phones.on_send = phones.nats_port = None
        for client in (publisher, system):
            with suppress(Exception):
                await client.close()
        await terminate(process)


async def _listening(process: asyncio.subprocess.Process, folder: Path) -> dict[str, str]:
    """The first URL of each listener. Raises OSError if the server ends, or does not listen."""
    until_s = time.perf_counter() + STARTED_WITHIN_S
    while process.returncode is None and time.perf_counter() < until_s:
        for path in folder.glob("*.ports"):
            with suppress(ValueError, LookupError):  # the server is still writing it
                return {name: urls[0] for name, urls in json.loads(path.read_text()).items()}
        await asyncio.sleep(POLL_EVERY_S)
    end = (folder / "phones.log").read_text("utf-8", "replace").splitlines()[-1:]
    raise OSError(f"nats-server does not listen: {' '.join(end)}")
