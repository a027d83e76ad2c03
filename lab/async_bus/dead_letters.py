"""Dead letters: events that a service could not apply, stored so that later events can go on.

A dead letter is work for an operator. The service stores it in its database, in the transaction
that moves the offset past the event. So the event is either still to be consumed or a dead letter,
and never neither. `lab events --dead` shows dead letters. `lab redrive` applies them again, once
the cause is fixed. A redriven event is *late*: the effects of events published after it stay.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from lab.domain.events import Envelope
from lab.service.store import Store, Transaction, is_machine_error

TABLE = """
CREATE TABLE IF NOT EXISTS dead_letters (
    sequence INTEGER NOT NULL,
    envelope TEXT NOT NULL,
    why      TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    at       TEXT NOT NULL,
    id       TEXT PRIMARY KEY
);
"""
MAX_REASON_LENGTH = 300
_INSERT = "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?)"


def describe_error(error: BaseException | None) -> str:
    """Why an event could not be applied, on one line: `title: Field required`."""
    if isinstance(error, ValidationError):
        problems = error.errors(include_input=False, include_url=False)
        return "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in problems)
    return " ".join(str(error).split())[:MAX_REASON_LENGTH] or type(error).__name__


def store_dead_letter(change: Transaction, envelope: Envelope, why: str, attempts: int) -> None:
    """Store an event as a dead letter, in the transaction that moves the offset past it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = envelope.model_dump_json()
    change.execute(_INSERT, envelope.sequence, content, why, attempts, now, envelope.id)


def read_dead_letters(store: Store) -> list[dict[str, Any]]:
    """All dead letters, in the order of the bus, each as
    `{sequence, id, type, why, attempts, at, envelope}`."""
    rows = store.rows("SELECT * FROM dead_letters ORDER BY sequence")
    letters = []
    for row in rows:
        envelope = Envelope.from_json(row["envelope"]).model_dump()
        letters.append({**dict(row), "type": envelope["type"], "envelope": envelope})
    return letters


def count_dead_letters(store: Store) -> int:
    """The number of dead letters."""
    return int(store.rows("SELECT count(*) AS n FROM dead_letters")[0]["n"])


def redrive(
    store: Store, apply: Callable[[Envelope, Transaction], None]
) -> dict[str, list[dict[str, Any]]]:
    """Apply each dead letter again, and delete it in the same transaction.

    Returns the letters that were `redriven` and those `still_dead`, with the new reason.
    """
    redriven: list[dict[str, Any]] = []
    still_dead: list[dict[str, Any]] = []
    for letter in read_dead_letters(store):
        sequence = letter["sequence"]
        try:
            with store.transaction() as change:
                apply(Envelope.model_validate(letter["envelope"]), change)
                change.execute("DELETE FROM dead_letters WHERE id = ?", letter["id"])
            redriven.append({"sequence": sequence, "type": letter["type"]})
        except Exception as error:  # After any error it stays a dead letter.
            why = describe_error(error)
            if not is_machine_error(error):  # a full disk is no attempt
                with store.transaction() as change:
                    change.execute(
                        "UPDATE dead_letters SET why = ?, attempts = attempts + 1 WHERE id = ?",
                        why,
                        letter["id"],
                    )
            still_dead.append({"sequence": sequence, "type": letter["type"], "why": why})
    return {"redriven": redriven, "still_dead": still_dead}
