"""Where a foreign service really listens, when it is not where it should be."""

from contextlib import suppress
from ipaddress import ip_address

import psutil

from lab.cluster.family import family


def elsewhere(keeper: int, port: int) -> str | None:
    """What all that a keeper has started does instead of listening on `port` of this machine, in a
    sentence; None where nobody knows, or where it does listen there."""
    found: set[tuple[str, int]] = set()
    members = family(keeper)
    for one in members:
        with suppress(psutil.Error):
            found |= {
                (each.laddr.ip, each.laddr.port)
                for each in one.net_connections("inet")
                if each.status == psutil.CONN_LISTEN
            }
    if not members or any(number == port and _is_here(host) for host, number in found):
        return None
    if not found:
        return "It has not begun to listen anywhere"
    others = [f"{number}" if _is_here(host) else f"{number} of {host}" for host, number in found]
    named = " and ".join(sorted(set(others)))
    return (
        f"It listens on port {named} instead. Say so with `port`, or tell it by `port_env` in "
        "which variable it is given the port"
    )


def _is_here(host: str) -> bool:
    address = ip_address(host)
    return address.is_loopback or address.is_unspecified
