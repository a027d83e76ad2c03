"""Listens, and gives each connection to a program as its input and output, as inetd did.

Where there is socat: socat TCP-LISTEN:4000,bind=127.0.0.1,reuseaddr,fork EXEC:"sh answer.sh"
"""

import socketserver
import subprocess
import sys


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        subprocess.run(sys.argv[2:], stdin=self.request, stdout=self.request)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128


with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
