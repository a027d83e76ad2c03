"""Who may do what. Each rule closes one way in; all of them are asked at every route.

The token is in the address that was printed, behind the `#`, which no browser sends anywhere. The
page brings it once and gets a cookie for it, which no script can read and no other site can send.
A page on another port of this machine is *the same site* to a browser, so that alone is not enough:
what changes something must come as JSON, with a header that only our own page sends, and a browser
that says where a request comes from must say: from here.
"""

import hmac
import secrets
import socket
from collections.abc import Collection
from dataclasses import dataclass, field

import psutil
from aiohttp import web

from lab.domain.errors import Forbidden, WrongHost
from lab.service.http import printable

PAGE_HEADER = "Lab-Page"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer. Nothing from elsewhere is loaded, nobody may frame us, nothing is kept."""


@dataclass(frozen=True)
class Keys:
    """`token`: what the address has; `pass_`: what the cookie has, so that neither is the other.

    `cookie`: its name. Cookies don't know ports, so two consoles on one machine need two names.
    """

    cookie: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    pass_: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @classmethod
    def of(cls, port: int) -> "Keys":
        return cls(f"lab-{port}")

    def opens(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def set_cookie(self) -> str:
        """The header's value."""
        return f"{self.cookie}={self.pass_}; HttpOnly; SameSite=Strict; Path=/"

    def check(self, request: web.BaseRequest) -> None:
        """Let in only who has entered. Raises Forbidden."""
        given = request.cookies.get(self.cookie, "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.pass_.encode()):
            raise Forbidden(
                "Only who has opened the printed address may do this: it has the token behind #."
            )


def check_origin(request: web.BaseRequest) -> None:
    """A request that says from which page it comes must come from ours. Raises Forbidden."""
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.headers.get('Host', '')}":
        raise Forbidden(f"A page at {printable(origin)} may not ask for this.")


def check_page(request: web.BaseRequest) -> None:
    """What changes something needs a header that a form can't send. Raises Forbidden."""
    if request.headers.get(PAGE_HEADER) != "1":
        raise Forbidden(f"This needs the header {PAGE_HEADER}: 1, as our own page sends it.")


def check_own_host(request: web.BaseRequest, hosts: Collection[str]) -> None:
    """The name that was asked for must be one of these, to the letter. Raises WrongHost."""
    host = request.headers.get("Host", "")
    if host not in hosts:
        raise WrongHost(f"Nobody here is called {printable(host)!r}.")


def loopback_hosts(port: int) -> frozenset[str]:
    return frozenset((f"127.0.0.1:{port}", f"localhost:{port}"))


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses but the loopback, as others in its networks know it."""
    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]
    return list(dict.fromkeys(found))
