"""The console behind a reverse proxy: what an option allows, and that it allows nothing else."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.ports import reserve
from lab.live.proxy import SECRET_HEADER, SECRET_VARIABLE, TOKEN_VARIABLE, ProxyRules, jupyter_entry
from tests.live.test_security import EACH, path_of, wrong_requests
from tests.programs.labs import ROOT
from tests.programs.patient import PATIENCE_S
from tests.support.browser import RIGHT, figure, is_down, is_healthy, open_page
from tests.support.live_world import ConsoleServer, EventStream, run_console_process
from tests.support.reverse_proxy import NAME, nginx, trusting

OUTSIDE = "lectures.example.org"
BASE = f"https://{OUTSIDE}/courses/lab/"
FORWARDED = {"X-Forwarded-Host": OUTSIDE, "X-Forwarded-Proto": "https"}
SECRET = "a secret that only the Jupyter server has"


@contextmanager
def console(
    base_url: str = "", hosts: Any = (), forwarded_from: Any = (), secret: str = ""
) -> Iterator[ConsoleServer]:
    server = ConsoleServer(ProxyRules.parse(base_url, hosts, forwarded_from, secret))
    try:
        yield server
    finally:
        server.close()


def status(server: ConsoleServer, headers: dict[str, str], path: str = "/api/step") -> int:
    """Of a request that would act: 400 when it comes through, because there is no script."""
    return server.request("POST", path, {}, headers)[0]


def enter(server: ConsoleServer, **headers: str) -> str:
    token = {"token": server.credentials.token}
    code, response_headers, _ = server.request("POST", "/api/enter", token, headers)
    assert code == 204
    return response_headers["set-cookie"]


# ── Each option, and nothing without it


def test_without_an_option_no_header_of_a_proxy_counts() -> None:
    with console() as server:
        assert status(server, {}) == 400
        assert status(server, {"Host": OUTSIDE, **FORWARDED}) == 421
        assert status(server, {"Origin": f"https://{OUTSIDE}", **FORWARDED}) == 403
        assert status(server, {SECRET_HEADER: "", "Host": OUTSIDE}) == 421
        cookie = enter(server, **FORWARDED, **{"X-Forwarded-Prefix": "/else"})
        assert cookie.endswith("Path=/")


def test_an_allowed_host_is_one_more_name_and_no_other_origin() -> None:
    with console(hosts=[OUTSIDE]) as server:
        assert status(server, {"Host": OUTSIDE}) == 400
        assert status(server, {"Host": OUTSIDE, "Origin": f"http://{OUTSIDE}"}) == 400
        assert status(server, {"Host": OUTSIDE, "Origin": f"https://{OUTSIDE}"}) == 403
        assert status(server, {"Host": OUTSIDE, "Origin": "http://evil.example"}) == 403
        for host in (f"x.{OUTSIDE}", f"{OUTSIDE}:81", "evil.example"):
            assert status(server, {"Host": host}) == 421
            assert server.shared.request("GET", "/", None, {"Host": host})[0] == 421
        assert server.shared.request("GET", "/", None, {"Host": OUTSIDE})[0] == 200


def test_forwarded_headers_count_only_from_the_named_address() -> None:
    page = {**FORWARDED, "Origin": f"https://{OUTSIDE}"}
    with console(hosts=[OUTSIDE], forwarded_from=["127.0.0.1"]) as server:
        assert status(server, page) == 400
        assert status(server, {**page, "Origin": f"http://{OUTSIDE}"}) == 403
        assert status(server, {**page, "X-Forwarded-Host": "evil.example"}) == 421
        assert status(server, {**page, "X-Forwarded-Host": f"evil.example, {OUTSIDE}"}) == 400
        assert "Path=/hub/; Secure" in enter(server, **page, **{"X-Forwarded-Prefix": "/hub"})
        hostile = enter(server, **page, **{"X-Forwarded-Prefix": "/;Domain=evil.example"})
        assert "Path=/; Secure" in hostile
    with console(hosts=[OUTSIDE], forwarded_from=["10.0.0.0/8"]) as server:
        assert status(server, page) == 403


def test_a_base_url_gives_the_origin_the_prefix_and_a_secure_cookie() -> None:
    page = {"Origin": f"https://{OUTSIDE}"}
    with console(BASE) as server:
        for headers in (page, {**page, "Host": OUTSIDE}):
            assert status(server, headers) == 400
            assert status(server, headers, "/courses/lab/api/step") == 400
            assert "Path=/courses/lab/; Secure" in enter(server, **headers)
        assert status(server, {"Origin": f"http://{OUTSIDE}"}) == 403
        assert status(server, {"Host": "evil.example"}) == 421
        assert status(server, page, "/courses/other/api/step") == 404
        assert server.request("GET", "/courses/lab/static/../server.py")[0] in (400, 404)
        # On this machine, without the proxy, it works as ever.
        assert enter(server).endswith("Path=/")


def test_a_jupyter_server_is_known_by_its_secret() -> None:
    with console(secret=SECRET) as server:
        through = {SECRET_HEADER: SECRET, "Host": OUTSIDE}
        assert status(server, through) == 400
        assert status(server, {**through, "Origin": f"https://{OUTSIDE}"}) == 400
        assert status(server, {**through, "Origin": "https://evil.example"}) == 403
        assert status(server, {**through, "Cookie": f"{server.cookie}x"}) == 403
        assert status(server, {**through, SECRET_HEADER: "guessed"}) == 421
        assert status(server, {"Host": OUTSIDE}) == 421


@pytest.mark.parametrize(
    ("base_url", "hosts", "forwarded_from"),
    [
        ("example.org/lab", (), ()),
        ("ftp://example.org/", (), ()),
        ("https:///lab", (), ()),
        ("https://user@example.org/", (), ()),
        ("", ["*"], ()),
        ("", ["*.example.org"], ()),
        ("", ["http://example.org"], ()),
        ("", ["example.org/lab"], ()),
        ("", (), ["example.org"]),
        ("", (), ["10.0.0.1/8"]),
    ],
)
def test_a_senseless_option_is_refused(base_url: str, hosts: Any, forwarded_from: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|host bits|appear"):
        ProxyRules.parse(base_url, hosts, forwarded_from)


@EACH
def test_behind_a_proxy_a_wrong_request_is_refused_as_ever(route: Any) -> None:
    with console(BASE, [OUTSIDE], ["127.0.0.1"], SECRET) as server:
        for statuses, headers, body in wrong_requests(route, server.credentials):
            code, _, _ = server.request(route.method, path_of(route), body, headers)
            assert code in statuses, (headers, body)


# ── Jupyter


def test_the_entry_point_starts_a_console_that_its_user_may_enter() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert 'jupyter_serverproxy_servers]\nlab-live = "lab.live.proxy:jupyter_entry"' in project
    entry = EntryPoint("lab-live", "lab.live.proxy:jupyter_entry", "").load()()
    token = entry["environment"][TOKEN_VARIABLE]
    assert entry["request_headers_override"][SECRET_HEADER] == entry["environment"][SECRET_VARIABLE]
    assert entry["launcher_entry"]["path_info"] == f"lab-live/#token={token}"
    assert token not in " ".join(entry["command"])
    assert Path(entry["launcher_entry"]["icon_path"]).is_file()
    assert jupyter_entry()["environment"][TOKEN_VARIABLE] != token


# ── nginx, with TLS

PREFIX = "/courses/lab/"
STRIPPED = f"location {PREFIX} {{{{ proxy_pass http://127.0.0.1:{{}}/; }}}}"
WHOLE = (
    f"location {PREFIX} {{{{ proxy_pass http://127.0.0.1:{{}}; "
    "proxy_set_header Host $http_host; }}"
)
"""nginx takes the prefix off and sends its own name on, or leaves both as they were."""


class ClientOutside:
    """A client on the other side of nginx."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self._folder = port, folder
        self.origin, self.cookie = f"https://{NAME}:{port}", ""

    def connect(self) -> http.client.HTTPSConnection:
        context = trusting(self._folder)
        return http.client.HTTPSConnection(NAME, self.port, context=context, timeout=PATIENCE_S)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, str]:
        """The status, and the cookie that is set."""
        sent = {"Lab-Page": "1", "Content-Type": "application/json", "Origin": self.origin}
        sent |= {"Cookie": self.cookie, **headers}
        with closing(self.connect()) as connection:
            connection.request("POST", f"{PREFIX}{path}", json.dumps(body), sent)
            response = connection.getresponse()
            response.read()
            return response.status, response.headers.get("Set-Cookie", "")

    def enter(self, token: str) -> str:
        code, cookie = self.post("api/enter", {"token": token})
        assert code == 204
        self.cookie = cookie.partition(";")[0]
        return cookie


@pytest.mark.parametrize("location", [STRIPPED, WHOLE])
def test_through_nginx_with_tls_the_token_is_needed_as_ever(tmp_path: Path, location: str) -> None:
    with (
        reserve() as reserved,
        console(f"https://{NAME}:{reserved.port}{PREFIX}") as server,
        nginx(tmp_path, reserved.port, location.format(server.port)),
    ):
        outside = ClientOutside(reserved.port, tmp_path)
        assert outside.post("api/step", {})[0] == 403
        assert outside.post("api/enter", {"token": "guessed"})[0] == 403
        assert f"Path={PREFIX}; Secure" in outside.enter(server.credentials.token)
        assert outside.post("api/step", {})[0] == 400  # it came through; there is no script
        assert outside.post("api/step", {}, Origin="https://evil.example")[0] == 403
        assert (
            outside.post("api/step", {}, Origin=outside.origin.replace("https", "http"))[0] == 403
        )
        with closing(outside.connect()) as connection:
            # nginx passes the events on at once, and not when it has collected some of them.
            connection.request("GET", f"{PREFIX}api/stream", None, {"Cookie": outside.cookie})
            screen = EventStream(connection.getresponse())
            screen.until("hello")
            server.run_in_loop(lambda: server.broadcast.log_action("first", "load"))
            assert screen.until("done")["says"] == "first"


def test_through_nginx_without_the_option_every_action_is_refused(tmp_path: Path) -> None:
    with (
        reserve() as reserved,
        console() as server,
        nginx(tmp_path, reserved.port, STRIPPED.format(server.port)),
    ):
        outside = ClientOutside(reserved.port, tmp_path)
        assert outside.post("api/enter", {"token": server.credentials.token})[0] == 403
        assert outside.post("api/enter", {"token": server.credentials.token}, Origin="")[0] == 403


@pytest.mark.slow
def test_the_page_works_through_nginx_with_tls(browser: Any, tmp_path: Path) -> None:
    with reserve() as reserved:
        base_url = f"https://{NAME}:{reserved.port}{PREFIX}"
        options = ("--rate", "5", "--base-url", base_url)
        with (
            run_console_process(tmp_path, *options) as live,
            nginx(tmp_path, reserved.port, STRIPPED.format(live.port)),
            open_page(browser, live.addresses[0], ignore_https_errors=True) as seen,
        ):
            assert live.addresses[0].startswith(f"{base_url}#token=")
            seen.page.keyboard.press("k")
            seen.wait_for(is_down, "comments")
            seen.page.wait_for_selector(figure(RIGHT, 1, True))
            seen.page.keyboard.press("u")
            seen.wait_for(is_healthy, "comments")
            assert seen.errors == []
            assert [url for url in seen.requested_urls if not url.startswith(base_url)] == []
