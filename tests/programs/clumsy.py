"""A service on the lab's own server whose handlers have bugs."""

import argparse
from typing import NoReturn

from aiohttp import web

from lab.service.http import Route
from lab.service.server import Shell, ShellOptions


def stumble() -> NoReturn:
    raise RuntimeError("a secret of the inside")


async def stumble_raw(request: web.BaseRequest) -> NoReturn:
    raise RuntimeError("a secret of the inside")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    ShellOptions.arguments(parser, port=0)
    routes = [Route("GET", "/plain", stumble), Route("GET", "/raw", stumble_raw, raw=True)]
    Shell("tests", "clumsy", routes, ShellOptions.of(parser.parse_args(argv))).run()


if __name__ == "__main__":
    main()
