"""The commands for a running blog: `up`, `fault`, `heal`, `events`, `redrive`."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from lab.commands import completion
from lab.commands.console import echo, fail, make_run_folder, or_usage_error, run_until_done

app = typer.Typer()

EXAMPLES = {"ms": "300", "from": "query", "type": "CommentCreated", "version": "2"}
"""A value of each option that a fault cannot do without."""

Stack = Annotated[
    str | None,
    typer.Option(help="only in this stack", autocompletion=completion.arrangements),
]


@app.command(
    epilog="Example: lab up both   Next, in another terminal: lab fault latency comments --ms 300",
)
def up(
    which: Annotated[
        str,
        typer.Argument(
            help="sync-chain, async-bus, request-reply, monolith, or both",
            metavar="STACK",
            autocompletion=completion.stacks,
        ),
    ] = "both",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SWITCH=VALUE", help="such as dead_letter=true; may be repeated"
        ),
    ] = None,
    bus: Annotated[
        str | None,
        typer.Option(help="event bus: log, course, nats, or nats://HOST:PORT"),
    ] = None,
) -> None:
    """Start the stacks on their fixed ports, and keep them running until Ctrl-C."""
    from lab.domain.services import BY_HAND_PORTS, TWINS
    from lab.live.sandbox.control_client import find_running_labs
    from lab.live.sandbox.session import run_up, settings_by_stack
    from lab.results.run_folder import create_run_folder
    from lab.support.text import did_you_mean

    known = (*BY_HAND_PORTS, "both")
    if which not in known:
        fail(f"There is no stack {which!r}. {did_you_mean(which, known)}", 2)
    stacks = list(TWINS) if which == "both" else [which]
    assignments = [*(settings or []), *([f"bus={bus}"] if bus else [])]
    options = or_usage_error(settings_by_stack, assignments, stacks)
    if conflicting := [lab for lab in find_running_labs() if set(stacks) & set(lab.stacks)]:
        fail(
            f"A lab is already running (pid {conflicting[0].pid}). Use it, or end it with Ctrl-C.",
            3,
        )
    run_until_done(run_up(which, make_run_folder(create_run_folder, "up"), echo, options=options))


class FaultCommand(completion.LabCommand):
    """`lab fault`, whose help lists the kinds and their options as `lab.faults.kinds` has them."""

    def format_help(self, *arguments: Any) -> None:
        # Only here, because the import takes longer than the command.
        from lab.faults.kinds import KINDS, describe_options

        hints = {"kind": ", ".join(KINDS), **describe_options()}
        for parameter in self.params:
            name = str(parameter.name).rstrip("_")
            if name in hints and hasattr(parameter, "help"):
                parameter.help = hints[name]
        super().format_help(*arguments)


@app.command(
    cls=FaultCommand,
    epilog="Example: lab fault latency comments --ms 300 --jitter-ms 50   Next: lab heal",
)
def fault(
    kind: Annotated[str | None, typer.Argument(autocompletion=completion.fault_kinds)] = None,
    target: Annotated[
        str | None,
        typer.Argument(help="a service, or event-bus", autocompletion=completion.fault_targets),
    ] = None,
    ms: Annotated[float | None, typer.Option()] = None,
    jitter_ms: Annotated[float | None, typer.Option()] = None,
    per_event: Annotated[bool | None, typer.Option("--per-event")] = None,
    status: Annotated[int | None, typer.Option()] = None,
    from_: Annotated[str | None, typer.Option("--from", autocompletion=completion.services)] = None,
    type_: Annotated[str | None, typer.Option("--type")] = None,
    version: Annotated[int | None, typer.Option()] = None,
    probability: Annotated[float | None, typer.Option()] = None,
    first: Annotated[int | None, typer.Option()] = None,
    stack: Stack = None,
    pid: Annotated[int | None, typer.Option(help="pid of the lab, if several run")] = None,
) -> None:
    """Inject a fault into a running `lab up`, in each stack; without words, list active faults."""
    from lab.live.sandbox.control_client import ControlError, find_lab, inject_fault, list_faults

    given = {
        "ms": ms,
        "jitter_ms": jitter_ms,
        "per_event": per_event,
        "status": status,
        "from": from_,
        "type": type_,
        "version": version,
        "probability": probability,
        "first": first,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if kind:
        _check_fault(kind, target, options)
    try:
        running = find_lab(pid)
        if kind and target:
            lines = inject_fault(running, kind, target, options, stack)
        else:
            lines = list_faults(running)
        for line in lines:
            echo(line)
    except ControlError as error:
        fail(error, error.exit_code)


def _check_fault(kind: str, target: str | None, options: Mapping[str, Any]) -> None:
    """Exit with code 2, and the command that was probably meant, unless the fault is complete."""
    from lab.domain.services import BUS
    from lab.faults.kinds import KINDS, parse_fault, unknown_kind

    if kind not in KINDS:
        fail(unknown_kind(kind), 2)
    fault_class = KINDS[kind]
    missing = [
        name
        for name, info in fault_class.options().items()
        if info.is_required() and name not in options
    ]
    given = {name: str(value) for name, value in options.items() if name in fault_class.options()}
    examples = {name: EXAMPLES[name] for name in missing}
    default = BUS if fault_class.acts_on == "bus" else "comments"
    line = " ".join(
        (
            *("lab fault", kind, target or default),
            *(f"--{name.replace('_', '-')} {text}" for name, text in {**given, **examples}.items()),
        )
    )
    if not target:
        fail(f"{kind!r} needs a target. Try: {line}", 2)
    if missing:
        description = fault_class.options()[missing[0]].description
        fail(f"{kind!r} needs --{missing[0].replace('_', '-')} ({description}). Try: {line}", 2)
    try:
        parse_fault(kind, target, dict(options))
    except ValueError as error:
        sentence = str(error)
        for name in options:  # as people write it here, and not as in a scenario file
            flag = f"--{name.replace('_', '-')}"
            sentence = sentence.replace(f"{name} = ", f"{flag} ").replace(repr(name), flag)
        fail(sentence, 2)


@app.command(
    epilog="Example: lab heal comments   or: lab heal, for everything   Next: lab fault down posts",
)
def heal(
    target: Annotated[
        str | None,
        typer.Argument(help="only faults on this service", autocompletion=completion.fault_targets),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="only faults of this kind", autocompletion=completion.fault_kinds),
    ] = None,
    stack: Stack = None,
    pid: Annotated[int | None, typer.Option(help="pid of the lab, if several run")] = None,
) -> None:
    """Remove faults from a running `lab up`, and show what they did."""
    from lab.faults.kinds import KINDS, unknown_kind
    from lab.live.sandbox import control_client
    from lab.live.sandbox.control_client import ControlError, find_lab

    if kind and kind not in KINDS:
        fail(unknown_kind(kind), 2)
    try:
        for line in control_client.heal(find_lab(pid), target, kind, stack):
            echo(line)
    except ControlError as error:
        fail(error, error.exit_code)


@app.command(
    epilog="Example: lab events --follow   Next: lab events --dead, to see dead letters",
)
def events(
    after: Annotated[int, typer.Option(help="only events after this number", min=0)] = 0,
    type_: Annotated[
        str | None, typer.Option("--type", help="only this type, such as CommentCreated")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="continue until Ctrl-C")] = False,
    dead: Annotated[
        bool, typer.Option("--dead", help="show the dead letters of the services")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON for each")] = False,
    stack: Stack = None,
    pid: Annotated[int | None, typer.Option(help="pid of the lab, if several run")] = None,
) -> None:
    """Show the events on the bus of a running `lab up`, or its dead letters."""
    from lab.live.sandbox.control_client import ControlError, find_lab
    from lab.live.sandbox.events import show_dead_letters, show_events

    options: dict[str, Any] = {"after": after, "type_": type_, "follow": follow, "stack": stack}
    try:
        if dead:
            show_dead_letters(find_lab(pid), echo, as_json=json)
        else:
            show_events(find_lab(pid), echo, as_json=json, **options)
    except ControlError as error:
        fail(error, error.exit_code)


@app.command(
    epilog="Example: lab redrive query   Next: lab events --dead, to see what failed again",
)
def redrive(
    service: Annotated[
        str | None,
        typer.Argument(
            help="only dead letters of this service", autocompletion=completion.services
        ),
    ] = None,
    stack: Stack = None,
    pid: Annotated[int | None, typer.Option(help="pid of the lab, if several run")] = None,
) -> None:
    """Apply the dead letters of a running `lab up` again."""
    from lab.live.sandbox import events
    from lab.live.sandbox.control_client import ControlError, find_lab

    try:
        events.redrive(find_lab(pid), echo, service, stack)
    except ControlError as error:
        fail(error, error.exit_code)
