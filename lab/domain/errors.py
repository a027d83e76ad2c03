"""Everything that can go wrong between two services, in one tree.

    ServiceError                 status   definite
    ├── Invalid                  400      yes   a field is wrong: says which
    ├── Forbidden                403      yes   a control route without the run's token
    ├── NotFound                 404      yes   not known here
    ├── WrongMethod              405      yes
    ├── TooSlow                  408      yes   the request did not arrive whole in time
    ├── Conflict                 409      yes   right in itself, but not now
    ├── Gone                     410      yes   it was here once, and is not kept any more
    ├── TooLarge                 413      yes
    ├── UnsupportedMedia         415      yes   not JSON
    ├── WrongHost                421      yes   the Host header names somebody else
    ├── KeyReused                422      yes   the same Idempotency-Key as another request
    ├── GivenUp                  504      yes   who asked has stopped waiting: not begun
    └── DependencyFailed
        ├── BadAnswer            502      as the dependency says
        ├── Unreachable          503      yes   nobody listens: the request never arrived
        │   └── NotAsked         503      yes   we did not even ask: breaker open, bulkhead full
        └── TimedOut             504      no    it may have been done, or be done later

`definite` answers the question every caller of another service has to ask: *did the deed surely
not happen?* A refused connection is definite. A timeout is not: the request may sit in a queue
and be carried out after the caller has given up. Whoever retries an indefinite failure risks
doing a thing twice; whoever gives up risks not knowing that it was done.
"""

from typing import Any, ClassVar


class ServiceError(Exception):
    """Base of the tree. Carries what an RFC 9457 problem document needs."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, detail: str, *, field: str | None = None, definite: bool = True) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.definite = definite

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 problem document, with `definite` and, where one is at fault, `field`."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "definite": self.definite,
        }
        if self.field is not None:
            document["field"] = self.field
        return document


class Invalid(ServiceError):
    status = 400
    title = "The request is not valid"


class Forbidden(ServiceError):
    status = 403
    title = "Not for you"


class NotFound(ServiceError):
    status = 404
    title = "Not found"


class WrongMethod(ServiceError):
    """`allowed`: the methods that are known at this path."""

    status = 405
    title = "Not a thing one can do here"

    def __init__(self, detail: str, allowed: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.allowed = allowed


class Conflict(ServiceError):
    status = 409
    title = "Not now"


class Gone(ServiceError):
    status = 410
    title = "No longer kept"


class TooSlow(ServiceError):
    status = 408
    title = "The request did not arrive in time"


class TooLarge(ServiceError):
    status = 413
    title = "The request is too large"


class UnsupportedMedia(ServiceError):
    status = 415
    title = "The request is not JSON"


class WrongHost(ServiceError):
    status = 421
    title = "Sent to the wrong host"


class KeyReused(ServiceError):
    """The Idempotency-Key belongs to another request; the draft wants a 422 for that."""

    status = 422
    title = "Another request had that key"


class GivenUp(ServiceError):
    """Whoever asked has stopped waiting, so nothing was begun."""

    status = 504
    title = "Nobody waits for the answer"


class DependencyFailed(ServiceError):
    """A service that we asked did not give us what we needed."""

    status = 502
    title = "A service that we depend on failed"


class BadAnswer(DependencyFailed):
    """It answered, but with an error of its own or with nonsense."""


class Unreachable(DependencyFailed):
    """Nobody listens there: the request never arrived, so the deed did not happen."""

    status = 503


class NotAsked(Unreachable):
    """We did not even ask: to protect ourselves, or the one in trouble."""


class TimedOut(DependencyFailed):
    """No answer in time: the deed may have happened, or may happen yet."""

    status = 504

    def __init__(self, detail: str) -> None:
        super().__init__(detail, definite=False)
