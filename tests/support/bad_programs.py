"""Programs that are no services: what a student may hand in by mistake.

`lab/cluster/user_service.py` runs them, as an exercise or as the user's own service.
"""

from typing import NamedTuple

ANSWERING_PROGRAM = """
import socket, sys
def main(argv):
    print("here I am", flush=True)
    port = int(argv[argv.index("--port") + 1])
    listening = socket.create_server(("127.0.0.1", port), reuse_port=True)
    while True:
        taken, _ = listening.accept()
        with taken:
            asked = taken.recv(65536)
            if asked.startswith(b"GET /health"):
                taken.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
            else:
                %s
"""
HEAD = r"HTTP/1.1 200 OK\r\n"
NEVER_READY = ANSWERING_PROGRAM.replace("200 OK", "503 No") % "pass"
SLEEPING = "import time\ndef main(argv):\n    print('thinking')\n    time.sleep(600)"
FLOODING = "def main(argv):\n    while True:\n        print('flood ' * 1000)"


class FaultyProgram(NamedTuple):
    """A faulty program, the expected message about it, and the end of its log."""

    program: str
    message: str
    log_tail: str = ""


def answering(answer: str) -> FaultyProgram:
    """A program that is ready but gives this answer, so that the first criterion is not met."""
    return FaultyProgram(ANSWERING_PROGRAM % answer, "", "here I am")


COMMON_MISTAKES = {
    "crashes": FaultyProgram(
        "raise ValueError('no idea')", "exited with status 1 before it", "no idea"
    ),
    "hangs": FaultyProgram(SLEEPING, "was not ready in time: nothing listens on port", "thinking"),
    "floods its output": FaultyProgram(
        FLOODING, "It wrote 16 MiB of output, the most that is taken.", "flood"
    ),
    "answers nonsense": answering(f"taken.sendall(b'{HEAD}Content-Length: 6\\r\\n\\r\\n[1, 2]')"),
    "is never ready": FaultyProgram(
        NEVER_READY, "was not ready in time: its health answer is 503", "here I am"
    ),
}
"""The mistakes that are handed in most."""
