"""The console behind a reverse proxy: under which address the browser sees it.

Without options only the loopback's own names are accepted, and no header of a proxy counts. What an
option allows is as narrow as it can be: a host name by `--allow-host` or `--base-url`, the headers
`X-Forwarded-*` only of the addresses in `--forwarded-from`. The cookie, the origin of a page and
the token are checked in every case, against the address that the browser sees.

A Jupyter server is a proxy that lets only its own user in, and whose host name is not known here.
It sends a secret with each request, which only it and the console share (`jupyter_entry`).
"""

import hmac
import os
import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from lab.domain.errors import Forbidden
from lab.service.http import printable

SECRET_HEADER = "Lab-Proxy"
TOKEN_VARIABLE, SECRET_VARIABLE = "LAB_LIVE_TOKEN", "LAB_LIVE_PROXY_SECRET"
PREFIX = web.RequestKey("PREFIX", str)
ORIGINS = web.RequestKey("ORIGINS", set)
FROM_JUPYTER = web.RequestKey("FROM_JUPYTER", bool)
DIRECT_HOST = web.RequestKey("DIRECT_HOST", bool)
"""What `seen_from_outside` adds to a request."""
_PATH = re.compile(r"(/[\w.~%@-]*)+")


@dataclass(frozen=True)
class ProxyRules:
    """What a proxy may change. `base_url`: the address that the proxy serves, with a slash at its
    end, or ""; `hosts`: more accepted values of `Host`; `forwarded_from`: the networks whose
    X-Forwarded-* headers count; `secret`: of the Jupyter server that started this, or ""."""

    base_url: str = ""
    hosts: frozenset[str] = frozenset()
    forwarded_from: tuple[Any, ...] = ()
    secret: str = field(default="", repr=False)

    @classmethod
    def parse(
        cls, base_url: str, hosts: Sequence[str], forwarded_from: Sequence[str], secret: str = ""
    ) -> "ProxyRules":
        """The rules of the command line. Raises ValueError."""
        allowed = {_checked_host(host) for host in hosts}
        if base_url:
            parts = urlsplit(base_url)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
                raise ValueError(
                    f"--base-url {base_url!r} is no address of a page: expected one like "
                    "https://example.org/lab/."
                )
            allowed.add(_checked_host(parts.netloc))
            base_url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"
        try:
            networks = tuple(ip_network(address) for address in forwarded_from)
        except ValueError as error:
            raise ValueError(f"{error}. Try --forwarded-from 127.0.0.1.") from None
        return cls(base_url, frozenset(allowed), networks, secret)

    def seen_from_outside(self, request: web.BaseRequest) -> web.BaseRequest:
        """The request as its sender sees it: its host, scheme and address, without the prefix of
        the proxy. `request[ORIGINS]`: the origins of our own page."""
        headers = request.headers
        host, scheme, remote = headers.get("Host", ""), "http", request.remote or ""
        prefix = "/"
        is_jupyter = bool(self.secret) and hmac.compare_digest(
            headers.get(SECRET_HEADER, "").encode("utf-8", "replace"), self.secret.encode()
        )
        if is_jupyter or self._is_trusted(remote):
            given = _last(headers, "X-Forwarded-Prefix", "/")
            prefix = given.rstrip("/") + "/" if _PATH.fullmatch(given) else "/"
            scheme = _last(headers, "X-Forwarded-Proto", scheme)
            remote = _last(headers, "X-Forwarded-For", remote)
            host = host if is_jupyter else _last(headers, "X-Forwarded-Host", host)
        origins = {f"{scheme}://{host}"}
        if is_jupyter:
            origins |= {f"http://{host}", f"https://{host}"}
        url = request.rel_url
        if self.base_url:
            base = urlsplit(self.base_url)
            base_origin = f"{base.scheme}://{base.netloc}"
            if host.lower() == base.netloc.lower():
                origins.clear()  # the same name without TLS is another origin
            origins.add(base_origin)
            if len(origins) == 1 or headers.get("Origin") == base_origin:
                scheme, prefix = base.scheme, base.path
            if len(base.path) > 1 and url.raw_path.startswith(base.path):
                path = url.raw_path[len(base.path) - 1 :]
                url = url.with_path(path, encoded=True, keep_query=True)
        seen = request.clone(rel_url=url, host=host, scheme=scheme, remote=remote)
        seen[PREFIX], seen[ORIGINS] = prefix, origins
        seen[FROM_JUPYTER] = is_jupyter
        seen[DIRECT_HOST] = host == headers.get("Host", "") and scheme == "http" and prefix == "/"
        return seen

    def _is_trusted(self, remote: str) -> bool:
        try:
            address = ip_address(remote)
        except ValueError:
            return False
        return any(address in network for network in self.forwarded_from)


DIRECT = ProxyRules()
"""No proxy."""


def _checked_host(host: str) -> str:
    parts = urlsplit(f"//{host}")
    if parts.netloc != host or parts.username is not None or not parts.hostname or "*" in host:
        raise ValueError(
            f"{host!r} is no host name: expected one like example.org, or example.org:8443."
        )
    return host.lower()


def _last(headers: Any, name: str, default: str) -> str:
    """The value that the nearest proxy has added: each proxy appends its own."""
    return str(headers.get(name, default)).rsplit(",", 1)[-1].strip()


def is_direct(request: web.BaseRequest) -> bool:
    """Whether this came without a proxy, as far as it shows: then another port of the same host is
    another port of this machine."""
    return request[DIRECT_HOST] and not request[FROM_JUPYTER]


def check_origin(request: web.BaseRequest) -> None:
    """Raise Forbidden if the request has an `Origin` other than our own."""
    origin = request.headers.get("Origin")
    if origin is not None and origin not in request[ORIGINS]:
        raise Forbidden(
            f"A page at {printable(origin)} may not ask for this. If that is the address of this "
            "page behind a proxy, start lab live with --base-url."
        )


# ── Started by a Jupyter server

ICON = Path(__file__).parent / "static" / "icon.svg"


def jupyter_entry() -> dict[str, Any]:
    """The entry point `jupyter_serverproxy_servers`: how jupyter-server-proxy starts the console
    and reaches it. The Jupyter server has let its user in, so it may hand out the token."""
    token, secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    return {
        "command": [sys.executable, "-m", "lab", "live", "--no-open", "--port", "{port}"],
        "environment": {TOKEN_VARIABLE: token, SECRET_VARIABLE: secret},
        "request_headers_override": {SECRET_HEADER: secret},
        "timeout": 30,
        "launcher_entry": {
            "title": "Break it live",
            "icon_path": str(ICON),
            "path_info": f"lab-live/#token={token}",
        },
    }


def take_variable(name: str) -> str:
    """The value of an environment variable, which no process that is started later gets."""
    return os.environ.pop(name, "")
