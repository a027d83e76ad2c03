"""Access control of the console: the checks of a request. Each check closes one attack.

The token is in the printed URL, after the `#`, which a browser never sends. The page sends it once
and gets a cookie, which no script can read and no other site can send. But a page on another port
of this machine is *the same site* to a browser, so a cookie is not enough: a request that changes
something must be JSON and have a header that only our page sends, and if it has an `Origin`, that
must be our own.
"""

import hmac
import secrets
import socket
from dataclasses import dataclass, field

import psutil
from aiohttp import web

from lab.domain.errors import Forbidden

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
"""On every response: the page loads nothing from other sites, no site may frame it, and the browser
caches nothing."""


@dataclass(frozen=True)
class Credentials:
    """The credentials of a console. `token`: in the URL; `cookie_value`: another secret.

    Cookies ignore ports, so two consoles on one machine need two values of `cookie_name`.
    """

    cookie_name: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    cookie_value: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @classmethod
    def for_port(cls, port: int, token: str = "") -> "Credentials":
        """Credentials with this token, or with a new one."""
        return cls(f"lab-{port}", token) if token else cls(f"lab-{port}")

    def accepts(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def set_cookie(self, path: str, is_https: bool) -> str:
        """The value of the `Set-Cookie` header: `path` is the prefix of a proxy, or `/`."""
        flags = f"HttpOnly; SameSite=Strict; Path={path}{'; Secure' if is_https else ''}"
        return f"{self.cookie_name}={self.cookie_value}; {flags}"

    def check_cookie(self, request: web.BaseRequest) -> None:
        """Raise Forbidden unless the request has the cookie."""
        value = request.cookies.get(self.cookie_name, "")
        if not hmac.compare_digest(value.encode("utf-8", "replace"), self.cookie_value.encode()):
            raise Forbidden(
                "This needs the cookie of the console. Open the printed address, with its #token."
            )


def check_page(request: web.BaseRequest) -> None:
    """Raise Forbidden without the page's header, which a form on another page can't send. Required
    for requests that change something."""
    if request.headers.get(PAGE_HEADER) != "1":
        raise Forbidden(f"This needs the header {PAGE_HEADER}: 1, as our own page sends it.")


def local_addresses() -> list[str]:
    """The IPv4 addresses of this machine, without the loopback."""
    known = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]
    return list(dict.fromkeys(known))
