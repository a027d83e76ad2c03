"""The bus's program on a machine on which nobody has installed nats-server."""

import os

import lab.nats_here
from lab.bus import nats_server


def main(argv: list[str] | None = None) -> None:
    os.environ["PATH"] = os.devnull
    lab.nats_here.WHEEL = "a-wheel-that-nobody-has"
    nats_server.main(argv)


if __name__ == "__main__":
    main()
