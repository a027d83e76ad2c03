"""Reserves ports, also while the service on them is down.

A service that is killed and started again must find its port free, and its clients must be
*refused* in between. So the lab binds the port and never listens. A bound socket keeps the number:
the system gives it to no other process. And the kernel refuses a connection at once if no socket
listens. If the lab held a *listening* socket, a killed service would look like a hanging one:
another fault, with other consequences. The service listens on the same port with SO_REUSEPORT,
which the kernel grants to processes of the same user.
"""

import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from lab.cluster.errors import NoReusePort, PortTaken
from lab.support.ports import find_port_owner

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Reservation:
    """`port` is reserved until `close()`. A service listens on it with SO_REUSEPORT."""

    port: int
    _socket: socket.socket = field(repr=False)

    def close(self) -> None:
        """Release the port. A second call does nothing."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def reserve(port: int = 0) -> Reservation:
    """Reserve `port` of 127.0.0.1, or any free one for 0. Raises PortTaken, NoReusePort."""
    if port:
        _raise_if_taken(port)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        _share_port(sock)
        # Old connections of an earlier server on this port must not stop the bind. Then the option
        # is off again, or other programs could not see that the port is reserved.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, bool(port))
        sock.bind((HOST, port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except PermissionError:
        sock.close()
        raise PortTaken(port, "the system (ports below 1024 are for its administrator)") from None
    except NoReusePort:
        sock.close()
        raise
    except OSError:
        sock.close()
        raise PortTaken(port, find_port_owner(port)) from None
    return Reservation(sock.getsockname()[1], sock)


def _share_port(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        raise NoReusePort from error


def _raise_if_taken(port: int) -> None:
    """Raise PortTaken if another process has the port.

    Two probes are needed, because SO_REUSEPORT would let us share the port with a holder that uses
    it as well. A bind *without* it fails if another lab has reserved the port, or if a process
    listens on this address. On some systems it does not fail if a process listens on all addresses,
    but that process accepts a connection.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # SO_REUSEADDR only ignores connections that have ended (TIME_WAIT).
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            return
        except OSError:
            raise PortTaken(port, find_port_owner(port)) from None
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        if client.connect_ex((HOST, port)) == 0:
            raise PortTaken(port, find_port_owner(port))
