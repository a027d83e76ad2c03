"""The picture of the blog: the calls of the chain, and what each service publishes and consumes.

It is drawn from `lab.domain.services`, so it cannot differ from the code.
"""

from collections.abc import Collection, Iterator

from rich.text import Text

from lab.domain.services import (
    BUS,
    CALLERS_OF,
    ENTRY_POINTS,
    EVENT_CONSUMERS,
    PUBLISHER_OF,
    SERVICES,
    TWINS,
)
from lab.report.formatting import TextFormat
from lab.support.text import to_ascii

CHAIN, BUS_SIDE = TWINS
_REQUEST_WIDTH = max(map(len, ENTRY_POINTS.values())) + 1
_SERVICE_WIDTH = max(map(len, SERVICES)) + 1
_EVENT_WIDTH = max(map(len, EVENT_CONSUMERS))


def draw_blog(
    fmt: TextFormat, arrangements: Collection[str] = TWINS, broken: Collection[str] = ()
) -> Iterator[Text]:
    """The lines of the picture, at most 80 columns. `arrangements`: draws only the twins among
    these. `broken`: services to mark, and `event-bus`."""
    drawings = {CHAIN: _chain, BUS_SIDE: _bus}
    for arrangement, drawing in drawings.items():
        if arrangement not in arrangements:
            continue
        for number, line in enumerate(drawing()):
            text = Text(to_ascii(line) if fmt.ascii_only else line)
            text.highlight_words([arrangement] if number == 0 else [*SERVICES, BUS], "bold")
            if number:
                text.highlight_words(broken, "bold red")
            yield text


def _chain() -> Iterator[str]:
    yield f"{CHAIN}: services call each other, and wait for the response"
    for service, request in ENTRY_POINTS.items():
        called = [target for target, callers in CALLERS_OF.items() if service in callers]
        begin = f"  {request:<{_REQUEST_WIDTH}}─► {service}"
        if not called:
            yield begin
        for number, target in enumerate(called):
            if number == 0:
                lines = "─" * (_SERVICE_WIDTH - len(service) - 1)
                branch = "┬" if len(called) > 1 else "─"
                yield f"{begin} {lines}{branch}─► {target}"
            else:
                branch = "└" if number == len(called) - 1 else "├"
                yield f"{' ' * (_REQUEST_WIDTH + 5 + _SERVICE_WIDTH)}{branch}─► {target}"


def _bus() -> Iterator[str]:
    yield f"{BUS_SIDE}: services publish events, and keep copies of what they consume"
    margin = " " * (_REQUEST_WIDTH + 5)
    yield f"{margin}{'publisher':<{_SERVICE_WIDTH + 5}}{BUS:<{_EVENT_WIDTH + 6}}consumers"
    drawn = set()
    for event, consumers in EVENT_CONSUMERS.items():
        service = PUBLISHER_OF[event]
        begin = margin
        if service in ENTRY_POINTS and service not in drawn:
            begin = f"  {ENTRY_POINTS[service]:<{_REQUEST_WIDTH}}─► "
        drawn.add(service)
        yield (
            f"{begin}{service:<{_SERVICE_WIDTH}}─► │ {event:<{_EVENT_WIDTH}} │ ─► "
            f"{', '.join(consumers)}"
        )
    for service, request in ENTRY_POINTS.items():
        if service not in drawn:
            begin = f"  {request:<{_REQUEST_WIDTH}}─► {service:<{_SERVICE_WIDTH}}"
            yield f"{begin}answers from its own copy"
