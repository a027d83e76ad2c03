"""What a service has noticed that should never be, kept where people look: its log, its state.

An alarm is no error: the service mends what it can and goes on. But somebody has to know.
"""

import sys
from collections import deque

_REMEMBERED = 16


class Alarms:
    """The last sentences, each said once however often its reason is met in a row."""

    def __init__(self) -> None:
        self.sentences: deque[str] = deque(maxlen=_REMEMBERED)

    def ring(self, sentence: str) -> None:
        if self.sentences and self.sentences[-1] == sentence:
            return
        self.sentences.append(sentence)
        sys.stderr.write(f"ALARM: {sentence}\n")
        sys.stderr.flush()
