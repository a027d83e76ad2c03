"""Everything that can go wrong between two services, in one tree.

    ServiceError                  status   definite
    ├── Invalid                   400      yes   a field is wrong; the error names it
    ├── Forbidden                 403      yes   a control route without the run's token
    ├── NotFound                  404      yes   not known here
    ├── MethodNotAllowed          405      yes
    ├── RequestTimeout            408      yes   the request did not arrive whole in time
    ├── Conflict                  409      yes   valid, but not in the present state
    ├── Gone                      410      yes   it existed, and is no longer stored
    ├── PayloadTooLarge           413      yes
    ├── UnsupportedMediaType      415      yes   not JSON
    ├── MisdirectedRequest        421      yes   the Host header names another host
    ├── IdempotencyKeyReused      422      yes   the same Idempotency-Key as another request
    ├── DiskFailed                503      no    the disk is full, read-only or broken
    ├── DeadlineExceeded          504      yes   the caller has stopped waiting: not started
    └── DependencyFailed
        ├── BadGateway            502      as the dependency says
        ├── Unreachable           503      yes   nothing listens: the request never arrived
        │   └── NotAsked          503      yes   not sent at all: breaker open, bulkhead full
        └── TimedOut              504      no    it may have been done, or be done later

`definite` answers the question that every caller has: *is it certain that nothing was done?* A
refused connection is definite. A timeout is not: the request may sit in a queue and be carried out
after the caller has given up. A retry after an indefinite failure risks doing the action twice; no
retry risks not knowing that it was done.
"""

from typing import Any, ClassVar


class ServiceError(Exception):
    """Base of the tree. Carries what an RFC 9457 problem document needs."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, field: str | None = None, definite: bool = True) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.definite = definite

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 problem document, with `definite` and, if one field is wrong, `field`."""
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
    title = "Invalid request"


class Forbidden(ServiceError):
    status = 403
    title = "Forbidden"


class NotFound(ServiceError):
    status = 404
    title = "Not found"


class MethodNotAllowed(ServiceError):
    """`allowed`: the methods of this path."""

    status = 405
    title = "Method not allowed"

    def __init__(self, detail: str, allowed: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.allowed = allowed


class Conflict(ServiceError):
    status = 409
    title = "Conflict"


class Gone(ServiceError):
    status = 410
    title = "Gone"


class RequestTimeout(ServiceError):
    status = 408
    title = "Request timeout"


class PayloadTooLarge(ServiceError):
    status = 413
    title = "Request too large"


class UnsupportedMediaType(ServiceError):
    status = 415
    title = "Unsupported media type"


class MisdirectedRequest(ServiceError):
    status = 421
    title = "Misdirected request"


class IdempotencyKeyReused(ServiceError):
    """The Idempotency-Key belongs to another request; the draft prescribes a 422 for that."""

    status = 422
    title = "Idempotency key reused"


class DiskFailed(ServiceError):
    """The file that stores the data can't be read or written."""

    status = 503
    title = "The disk failed"


class DeadlineExceeded(ServiceError):
    """The caller has stopped waiting, so nothing was started."""

    status = 504
    title = "Deadline exceeded"


class DependencyFailed(ServiceError):
    """A service that was called did not return what the caller needs."""

    status = 502
    title = "A required service failed"


class BadGateway(DependencyFailed):
    """The dependency responded, but with an error or with an invalid response."""


class Unreachable(DependencyFailed):
    """No process listens there: the request never arrived, so the action did not happen."""

    status = 503


class NotAsked(Unreachable):
    """The call was not sent, to protect the caller or the callee."""


class TimedOut(DependencyFailed):
    """No response in time: the action may have happened, or may happen later."""

    status = 504

    def __init__(self, detail: str) -> None:
        super().__init__(detail, definite=False)
