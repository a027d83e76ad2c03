"""What became of the writes of a check: missing, undecided, doubled, or kept without a success.

Each write carries a token, which is looked for in the feed. A write that was refused is also looked
for at the service that refused it.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

from lab.conformance.clients import SystemClient
from lab.conformance.light_load import CheckSample
from lab.experiment.readback import TOKEN, CannotCheck, StoredState, read_external_state
from lab.external.stack import ExternalStack

UNCHANGED_FOR_S, UNCHANGED_WHEN_BUSY_S = 0.5, 2.0
"""What is missing for so long stays missing; longer where this machine may be the cause."""

_POLL_S = 0.03


@dataclass(frozen=True)
class Outcome:
    """Tokens of writes. `acknowledged` have a success; of these, `missing` are not in the feed,
    `comments` are comments in the feed, and `waiting` those without a verdict. `doubled` are there
    more than once.

    `refused` got an error from a service, `unanswered` no answer; `…_kept` are stored nevertheless.
    `owners_read`: the actions whose service returned its own list. `after_s`: how long after the
    end of the traffic this was read.
    """

    acknowledged: frozenset[str]
    missing: frozenset[str]
    comments: frozenset[str]
    waiting: frozenset[str]
    doubled: frozenset[str]
    refused: frozenset[str]
    refused_kept: frozenset[str]
    unanswered: frozenset[str]
    unanswered_kept: frozenset[str]
    owners_read: tuple[str, ...] = ()
    after_s: float = 0.0

    @property
    def present(self) -> frozenset[str]:
        """The writes that can be there twice, because they are there at all."""
        return (self.acknowledged - self.missing) | self.doubled

    @classmethod
    def of(
        cls,
        writes: Iterable[CheckSample],
        stored: StoredState,
        at_owner: frozenset[str] = frozenset(),
        owners_read: tuple[str, ...] = (),
        after_s: float = 0.0,
    ) -> "Outcome":
        writes = list(writes)
        in_feed = frozenset(token for token, count in stored.in_feed.items() if count)
        acknowledged = frozenset(sample.token for sample in writes if sample.ok)
        failed = [sample for sample in writes if not sample.ok]
        refused = frozenset(each.token for each in failed if each.error.startswith("http_"))
        unanswered = frozenset(each.token for each in failed if each.error in ("timeout", "reset"))
        return cls(
            acknowledged=acknowledged,
            missing=acknowledged - in_feed,
            comments=acknowledged & frozenset(stored.feed_status),
            waiting=(acknowledged & in_feed) - frozenset(+stored.decided_in_feed),
            doubled=frozenset(each.token for each in writes if stored.in_feed[each.token] > 1),
            refused=refused,
            refused_kept=refused & (in_feed | at_owner),
            unanswered=unanswered,
            unanswered_kept=unanswered & (in_feed | at_owner),
            owners_read=owners_read,
            after_s=after_s,
        )


async def read_outcome(
    stack: ExternalStack,
    writes: Sequence[CheckSample],
    *,
    patience_s: float,
    at_most_s: float,
    moderated: bool = True,
) -> Outcome:
    """The outcome in the feed, as soon as nothing is missing or undecided, or when that has not
    changed for `patience_s` seconds, or after `at_most_s`. Raises CannotCheck."""
    began_s = unchanged_since_s = perf_counter()
    last: tuple[frozenset[str], frozenset[str]] | None = None
    while True:
        outcome = Outcome.of(
            writes, await read_external_state(stack), after_s=perf_counter() - began_s
        )
        open_writes = (outcome.missing, outcome.waiting if moderated else frozenset[str]())
        now_s = perf_counter()
        if open_writes != last:
            last, unchanged_since_s = open_writes, now_s
        if (
            not any(open_writes)
            or now_s - unchanged_since_s >= patience_s
            or now_s - began_s >= at_most_s
        ):
            return outcome
        await asyncio.sleep(_POLL_S)


async def read_final_outcome(
    stack: ExternalStack, writes: Sequence[CheckSample], post_id: str, outcome: Outcome
) -> Outcome:
    """`outcome` read once more, with the refused and unanswered writes that their own services
    store. Raises CannotCheck."""
    at_owner, owners_read = frozenset[str](), tuple[str, ...]()
    if outcome.refused or outcome.unanswered:
        at_owner, owners_read = await _tokens_at_owners(stack, post_id)
    stored = await read_external_state(stack)
    return Outcome.of(writes, stored, at_owner, owners_read, outcome.after_s)


async def _tokens_at_owners(
    stack: ExternalStack, post_id: str
) -> tuple[frozenset[str], tuple[str, ...]]:
    """The tokens that the services of posts and of comments list themselves, at GET of the path of
    the POST, or at the path above it; and the actions whose service lists anything."""
    client, actions = SystemClient(stack), stack.target.actions
    requests = {
        "create_post": actions.create_post.build_request(title="x"),
        "create_comment": actions.create_comment.build_request(post_id=post_id, content="x"),
    }
    tokens, read = set[str](), []
    for action, request in requests.items():
        service = getattr(actions, action).service
        for path in dict.fromkeys((request.path, request.path.rpartition("/")[0] or "/")):
            status, body = await client.call_directly(service, "GET", path)
            found = TOKEN.findall(body.decode("utf-8", "replace")) if status == "200" else []
            if found:
                tokens.update(found)
                read.append(action)
                break
    return frozenset(tokens), tuple(read)


__all__ = ["CannotCheck", "Outcome", "read_final_outcome", "read_outcome"]
