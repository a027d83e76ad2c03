"""A client that sends a write again when nobody can know whether it was done.

After a refusal the sender knows: nothing was done. After a timeout, or a connection that broke in
the middle, it knows nothing (*the two generals*: Gray, Notes on Data Base Operating Systems, 1978,
page 465). Most clients send it again then, and so may have it done twice. All they can do about
that is to say that both are the same request: each write carries an `Idempotency-Key`, and keeps it
when it is sent again. What becomes of the key is the server's affair.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

from lab import idempotency
from lab.load.client import Client
from lab.load.connection import Done, Outcome
from lab.load.plan import Origin

_WAS_IT_DONE = ("timeout", "reset")


@dataclass(frozen=True, slots=True)
class Again:
    """A client with `retries`, after each of which it is as patient (`timeout_s`) as at first."""

    client: Client
    retries: int
    timeout_s: float

    def send(
        self,
        method: str,
        origin: Origin,
        path: str,
        body: bytes,
        give_up_at_s: float,
        done: Done,
        headers: Mapping[str, str],
    ) -> bool:
        """As `Client.send`. `done` is called with the last outcome, which says how often the write
        was sent again."""
        if method == "GET":
            return self.client.send(method, origin, path, body, give_up_at_s, done, headers)
        keyed = {**headers, idempotency.HEADER: f'"{secrets.token_hex(16)}"'}
        unknown: list[Outcome] = []

        def attempt(give_up_at_s: float) -> bool:
            return self.client.send(method, origin, path, body, give_up_at_s, answered, keyed)

        def answered(outcome: Outcome) -> None:
            if outcome.error == "no_socket" and unknown:
                done(unknown[-1])  # that one was sent, so this is not nothing
                return
            outcome = outcome._replace(retried=len(unknown))
            if outcome.error in _WAS_IT_DONE and len(unknown) < self.retries:
                unknown.append(outcome)
                if attempt(perf_counter() + self.timeout_s):
                    return
            done(outcome)

        return attempt(give_up_at_s)
