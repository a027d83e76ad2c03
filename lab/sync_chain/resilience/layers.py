"""The mitigations around a wire: which there are, and in which order a question passes them.

    fallback      outermost: it is for what has failed in spite of everything
    hedge         around the retries: its second question is a whole one, with retries of its own
    retries       around all that is about one attempt; what is refused here is not asked again
    bulkhead      around the breaker: that we have no place left says nothing against who is asked.
                  (Inside it, a burst of refusals opens the circuit of a service that is well.)
    breaker       next to the wire: it sees what really became of each attempt
    timeout       innermost, with the deadline: it is for each attempt, not for all together
    the wire      HTTP, or events

Whatever is off is not there at all: the naive form is the wire and nothing else.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.service.call_counters import Tally
from lab.sync_chain.ask.http import Carrier


@dataclass(frozen=True)
class Layers:
    """What is on. `retry_budget`: the share that retries may be of all questions, 0 to 1."""

    retries: int = 0
    backoff: str = "none"
    retry_budget: float | None = None
    breaker: bool = False
    bulkhead: bool = False
    hedge_ms: float | None = None
    fallback: bool = False

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        """Add an option for each, off unless given."""
        add = parser.add_argument
        add("--retries", type=int, default=0, help="ask again so often when it failed (0)")
        add(
            "--backoff",
            choices=("none", "exponential", "jitter"),
            default="none",
            help="how to wait before asking again (none)",
        )
        add(
            "--retry-budget",
            type=float,
            nargs="?",
            const=0.1,
            metavar="SHARE",
            help="retries may be this share of all questions, 0.1 if not said (all)",
        )
        add("--breaker", action="store_true", help="leave alone for 1 s who failed 5 times")
        add("--bulkhead", action="store_true", help="half the workers at most for one dependency")
        add("--hedge", type=float, metavar="MS", help="ask a second time after so long (never)")
        add("--fallback", action="store_true", help="go on with less when nobody answers")

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "Layers":
        return cls(
            retries=arguments.retries,
            backoff=arguments.backoff,
            retry_budget=arguments.retry_budget,
            breaker=arguments.breaker,
            bulkhead=arguments.bulkhead,
            hedge_ms=arguments.hedge,
            fallback=arguments.fallback,
        )


def around(
    wire: Carrier, layers: Layers, tally: Tally, workers: int, instead: Mapping[str, Any]
) -> Carrier:
    """The wire with what is on around it, from the inside out.

    `workers`: how many the service has; `instead`: what it can go on with, by whom is asked.
    """
    # Each is imported where it is put on: a service without it need not wait for its library.
    carrier = wire
    if layers.breaker:
        from lab.sync_chain.resilience.breaker import Breaker

        carrier = Breaker(carrier, tally)
    if layers.bulkhead:
        from lab.sync_chain.resilience.bulkhead import Bulkhead

        carrier = Bulkhead(carrier, tally, places=max(1, workers // 2))
    if layers.retries:
        from lab.sync_chain.resilience.retries import Budget, Retries

        budget = None if layers.retry_budget is None else Budget(layers.retry_budget)
        carrier = Retries(carrier, tally, layers.retries, layers.backoff, budget)
    if layers.hedge_ms is not None:
        from lab.sync_chain.resilience.hedge import Hedge

        carrier = Hedge(carrier, tally, layers.hedge_ms / 1_000)
    if layers.fallback:
        from lab.sync_chain.resilience.fallback import Fallback

        carrier = Fallback(carrier, tally, instead)
    return carrier
