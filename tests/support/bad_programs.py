"""Programs that are no services: what a student may hand in by mistake.

`lab/cluster/user_service.py` runs them, as an exercise or as the user's own service.
"""

from typing import NamedTuple

ANSWERS = """
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
WAITS = ANSWERS.replace("200 OK", "503 No") % "pass"
SLEEPS = "import time\ndef main(argv):\n    print('thinking')\n    time.sleep(600)"
FLOODS = "def main(argv):\n    while True:\n        print('flood ' * 1000)"


class Bad(NamedTuple):
    """A faulty program, the expected message about it, and the end of its log."""

    program: str
    says: str
    last_words: str = ""


def nonsense(answer: str) -> Bad:
    """A program that is ready but gives this answer, so that the first criterion is not met."""
    return Bad(ANSWERS % answer, "", "here I am")


FIVE = {
    "crashes": Bad("raise ValueError('no idea')", "exited with status 1 before it", "no idea"),
    "hangs": Bad(SLEEPS, "was not ready in time: nothing listens on port", "thinking"),
    "floods its output": Bad(FLOODS, "It wrote 16 MiB of output, the most that is taken.", "flood"),
    "answers nonsense": nonsense(f"taken.sendall(b'{HEAD}Content-Length: 6\\r\\n\\r\\n[1, 2]')"),
    "is never ready": Bad(WAITS, "was not ready in time: its health answer is 503", "here I am"),
}
"""The mistakes that are handed in most."""
