"""The thirteen claims of the course: a sentence each, and the observation that would refute it.

Other programs rely on the ids, so they stay as they are. A scenario names the claims that it tests.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim, and the observation that would show it to be wrong."""

    id: str
    says: str
    refuted_by: str


CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for claim in (
        Claim(
            "all-in-one",
            "One process of a monolith holds the whole machinery for the whole application; "
            "one service holds the whole machinery for a single feature.",
            "a service whose process has to hold another feature's code or data to do its work",
        ),
        Claim(
            "own-database",
            "A service that has something to remember remembers it in a database of its own.",
            "two services with the same database file open",
        ),
        Claim(
            "no-reaching-in",
            "What lies in a service's database is read and written by that service alone.",
            "a database file opened by a process that isn't its service",
        ),
        Claim(
            "sharing-is-hard",
            "Splitting is easy; the price is paid where one service needs what another one knows.",
            "a feed that costs as little to read, and is as fresh, as if all data lay in one place",
        ),
        Claim(
            "slowest-hop",
            "Whoever waits for a chain of calls waits at least as long as its slowest call takes.",
            "a chained answer that comes back sooner than the slow service in the chain can answer",
        ),
        Claim(
            "dependencies",
            "A service that asks another one directly needs it: the other's trouble is its own.",
            "a service that keeps answering as before while the one it asks is slow or gone",
        ),
        Claim(
            "web",
            "Each question asked directly adds a thread, until most services hang on most others.",
            "a chain in which no service is down for want of another",
        ),
        Claim(
            "one-down",
            "When one service in a chain stops, services that are themselves well stop with it.",
            "requests that pass through the stopped service's askers and still succeed",
        ),
        Claim(
            "whole-fails",
            "A request that needs several calls fails as a whole when one of them fails.",
            "a request that succeeds although a call it is made of failed",
        ),
        Claim(
            "events-like-calls",
            "A question is a question: sent as an event and waited for, it hurts like a call.",
            "questions over the bus that are answered although the service asked is slow or gone",
        ),
        Claim(
            "independent",
            "A service that keeps its own copy, fed by events, answers without anybody's help.",
            "a service with a copy that fails or slows down because another service did",
        ),
        Claim(
            "bus-passes-on",
            "What a change in one service means to another one travels there by the bus, "
            "and arrives even if it has to wait.",
            "an acknowledged change that a service which needs it never comes to know",
        ),
        Claim(
            "design-steps",
            "Resources give the services; then come what each answers for, whom it needs, "
            "and the requests and responses it promises.",
            "a service of the lab whose routes don't follow from its resource and its needs",
        ),
    )
}
