"""What is read from a caller's connection: requests, one after the other, in a queue."""

import httptools

from lab.domain.errors import Invalid, ServiceError, TooLarge
from lab.foreign.connection import MOST_HEAD_BYTES
from lab.foreign.incoming import Incoming


class Reader:
    """`feed` it bytes; what it reads stands in `queue`, the last one perhaps not yet whole.

    What can't be read stands there as well, refused, so that its answer has its turn.
    """

    def __init__(self) -> None:
        self.queue: list[Incoming] = []
        self.receiving = False
        self._parser = httptools.HttpRequestParser(self)
        self._in_body = False
        self._head_bytes = 0

    def feed(self, data: bytes) -> bool:
        """Take in more. False: what was being passed on already broke off in the middle."""
        size = len(data)
        while data:
            try:
                self._parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                # To a wish for another protocol nothing is said: then it goes on as it was.
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError as error:
                if self.queue and self.queue[-1].complete:
                    return True  # behind a request that closes the connection
                return self.refuse(Invalid(f"This is no HTTP: {error}."))
        if self.receiving and not self._in_body:
            self._head_bytes += size
            if self._head_bytes > MOST_HEAD_BYTES:
                return self.refuse(TooLarge(f"More than {MOST_HEAD_BYTES // 1024} KiB of headers."))
        return True

    def refuse(self, error: ServiceError) -> bool:
        """Give up what is being read. False when some of it is on its way already."""
        self.receiving = False
        if not self.queue or self.queue[-1].complete:
            self.queue.append(Incoming())
        last = self.queue[-1]
        last.refused, last.complete, last.keep_alive = error, True, False
        return not last.begun

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._coming = Incoming()
        self.receiving, self._in_body, self._head_bytes = True, False, 0

    def on_url(self, url: bytes) -> None:
        self._coming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:
            self._coming.header(name, value)

    def on_headers_complete(self) -> None:
        self._in_body = True
        coming = self._coming
        coming.method = self._parser.get_method()
        coming.version = self._parser.get_http_version()
        coming.keep_alive = self._parser.should_keep_alive()
        self.queue.append(coming)

    def on_body(self, body: bytes) -> None:
        self._coming.body.append(body)
        self._coming.waiting += len(body)

    def on_message_complete(self) -> None:
        self._coming.complete = True
        self.receiving = False
