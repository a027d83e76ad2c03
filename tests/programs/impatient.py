"""A service on the lab's own server that waits for half a request for 0.3 s instead of 10 s."""

import argparse

from lab.domain.model import PostDraft
from lab.service import http
from lab.service.http import Route
from lab.service.server import Shell, ShellOptions

WITHIN_S = 0.3


def take(draft: PostDraft) -> PostDraft:
    return draft


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    ShellOptions.arguments(parser, port=0)
    options = ShellOptions.of(parser.parse_args(argv))
    http.WHOLE_REQUEST_WITHIN_S = WITHIN_S
    Shell("tests", "impatient", [Route("POST", "/posts", take, 201)], options).run()


if __name__ == "__main__":
    main()
