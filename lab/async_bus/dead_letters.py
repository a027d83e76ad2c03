"""Events that a service could not apply, laid aside so that what came after them could go on.

A dead letter is no rubbish: it is work that somebody has to look at. It lies in the service's own
database, put there in the transaction that moved the offset past it, so it is either still to come
or lies here, and never neither. `lab events --dead` shows them; `lab redrive`, once the cause has
been mended, applies them again. What happened to the same thing meanwhile is not undone: a letter
that is redriven comes *late*, behind events that were told after it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from lab.domain.events import Envelope
from lab.service.store import Store, Transaction

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
LONGEST_REASON = 300
_INSERT = "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?)"


def reason(error: BaseException | None) -> str:
    """Why an event could not be applied, on one line: `title: Field required`."""
    if isinstance(error, ValidationError):
        said = error.errors(include_input=False, include_url=False)
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in said)
    return " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__


def lay_aside(change: Transaction, envelope: Envelope, why: str, attempts: int) -> None:
    """Put an event among the dead letters, in the transaction that moves the offset past it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = envelope.model_dump_json()
    change.execute(_INSERT, envelope.sequence, content, why, attempts, now, envelope.id)


def dead_letters(store: Store) -> list[dict[str, Any]]:
    """`{sequence, type, why, attempts, at, envelope}` each, in the order of the bus."""
    rows = store.rows("SELECT * FROM dead_letters ORDER BY sequence")
    letters = []
    for row in rows:
        envelope = Envelope.from_json(row["envelope"]).model_dump()
        letters.append({**dict(row), "type": envelope["type"], "envelope": envelope})
    return letters


def count_dead(store: Store) -> int:
    """How many there are."""
    return int(store.rows("SELECT count(*) AS n FROM dead_letters")[0]["n"])


def redrive(
    store: Store, apply: Callable[[Envelope, Transaction], None]
) -> dict[str, list[dict[str, Any]]]:
    """Apply each again, and take it from the dead letters in the same transaction.

    Returns what was `redriven` and what is `still_dead`, with the reason of the new attempt.
    """
    redriven: list[dict[str, Any]] = []
    still_dead: list[dict[str, Any]] = []
    for letter in dead_letters(store):
        sequence = letter["sequence"]
        try:
            with store.transaction() as change:
                apply(Envelope.model_validate(letter["envelope"]), change)
                change.execute("DELETE FROM dead_letters WHERE id = ?", letter["id"])
            redriven.append({"sequence": sequence, "type": letter["type"]})
        except Exception as error:  # Whatever it is: it stays a dead letter.
            why = reason(error)
            with store.transaction() as change:
                change.execute(
                    "UPDATE dead_letters SET why = ?, attempts = attempts + 1 WHERE id = ?",
                    *(why, letter["id"]),
                )
            still_dead.append({"sequence": sequence, "type": letter["type"], "why": why})
    return {"redriven": redriven, "still_dead": still_dead}
