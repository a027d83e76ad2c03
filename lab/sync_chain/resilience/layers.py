"""The mitigations around a transport, and the order in which a request passes them.

    fallback      outermost: applies when everything inside it has failed
    hedge         around the retries: the second request is a complete one, with its own retries
    retries       around all that concerns one attempt; refusals from inside are not retried
    bulkhead      around the breaker: a full bulkhead says nothing about the health of the callee.
                  (Inside the breaker, a burst of refusals would open a healthy callee's circuit.)
    breaker       next to the transport: it sees the real outcome of each attempt
    timeout       innermost, with the deadline: limits each attempt, not all of them together
    transport     HTTP, or events

A mitigation that is off is not constructed: with none, a request goes straight to the transport.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.service.counters import CallCounters
from lab.sync_chain.ask.http import Transport


@dataclass(frozen=True)
class ResilienceOptions:
    """Which mitigations are on. `retry_budget`: largest ratio of retries to requests, 0 to 1."""

    retries: int = 0
    backoff: str = "none"
    retry_budget: float | None = None
    breaker: bool = False
    bulkhead: bool = False
    hedge_ms: float | None = None
    fallback: bool = False

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Add one option for each mitigation; each is off by default."""
        add = parser.add_argument
        add("--retries", type=int, default=0, help="retries of a failed request (0)")
        add(
            "--backoff",
            choices=("none", "exponential", "jitter"),
            default="none",
            help="how to wait before a retry (none)",
        )
        add(
            "--retry-budget",
            type=float,
            nargs="?",
            const=0.1,
            metavar="SHARE",
            help="largest share of retries in all requests; 0.1 without SHARE (no limit)",
        )
        add(
            "--breaker",
            action="store_true",
            help="after 5 failures send a service no requests for 1 s",
        )
        add("--bulkhead", action="store_true", help="at most half the workers for one dependency")
        add(
            "--hedge",
            type=float,
            metavar="MS",
            help="send a second request after this time (never)",
        )
        add("--fallback", action="store_true", help="answer with less when a request fails")

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> "ResilienceOptions":
        return cls(
            retries=arguments.retries,
            backoff=arguments.backoff,
            retry_budget=arguments.retry_budget,
            breaker=arguments.breaker,
            bulkhead=arguments.bulkhead,
            hedge_ms=arguments.hedge,
            fallback=arguments.fallback,
        )


def wrap(
    transport: Transport,
    options: ResilienceOptions,
    tally: CallCounters,
    workers: int,
    fallbacks: Mapping[str, Any],
) -> Transport:
    """Wrap the transport in the mitigations that are on, from the inside out.

    `workers`: number of workers of the service; `fallbacks`: fallback values by name of the callee.
    """
    # Imports are local: a service does not load the library of a mitigation that is off.
    wrapped = transport
    if options.breaker:
        from lab.sync_chain.resilience.breaker import Breaker

        wrapped = Breaker(wrapped, tally)
    if options.bulkhead:
        from lab.sync_chain.resilience.bulkhead import Bulkhead

        wrapped = Bulkhead(wrapped, tally, permits=max(1, workers // 2))
    if options.retries:
        from lab.sync_chain.resilience.retries import Retries, RetryBudget

        budget = None if options.retry_budget is None else RetryBudget(options.retry_budget)
        wrapped = Retries(wrapped, tally, options.retries, options.backoff, budget)
    if options.hedge_ms is not None:
        from lab.sync_chain.resilience.hedge import Hedge

        wrapped = Hedge(wrapped, tally, options.hedge_ms / 1_000)
    if options.fallback:
        from lab.sync_chain.resilience.fallback import Fallback

        wrapped = Fallback(wrapped, tally, fallbacks)
    return wrapped
