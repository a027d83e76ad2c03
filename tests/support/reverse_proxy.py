"""Debian's nginx in front of a console, with TLS: as a university's web server would be.

The tests are skipped, with the reason, where nginx or openssl is missing: the lab needs neither.
"""

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.programs.patient import PATIENCE_S

NAME = "localhost"
_CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl reuseport;
        server_name {name};
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        {locations}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, port: int, locations: str) -> Iterator[None]:
    """Run nginx with these locations; it serves HTTPS at this port, which is reserved."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None or shutil.which("openssl") is None:
        pytest.skip("no reverse proxy: Debian's nginx-light and openssl are not installed")
    _make_certificate(folder)
    text = _CONFIGURATION.format(folder=folder, port=port, name=NAME, locations=locations)
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen([program, "-c", folder / "nginx.conf", "-p", folder])
    try:
        _wait_until_it_listens(process, port, folder)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def trusting(folder: Path) -> ssl.SSLContext:
    """A context of a client that trusts the certificate in this folder."""
    return ssl.create_default_context(cafile=str(folder / "certificate.pem"))


def _make_certificate(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={NAME}"),
            *("-addext", f"subjectAltName=DNS:{NAME}"),
            *("-keyout", folder / "key.pem", "-out", folder / "certificate.pem"),
        ],
        check=True,
        capture_output=True,
    )


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
    deadline = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < deadline:
        assert process.poll() is None, (folder / "error.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("nginx never listened")
