"""The sync-versus-async lab, and a map of its rooms in the order in which they are best read.

    domain/       what a post and a comment are, what can happen to them, what can go wrong
    sync_chain/   the blog as services that ask each other …
    async_bus/    … and as services that tell each other: the same files, to be read in pairs
    service.py    what a service file declares        web.py    where HTTP becomes function calls
    shell.py      the process around it               store.py  its database: one transaction
    bus/          the event bus, behind a short contract
    faults/       the ways to break a service, and the door at which most of them act
    load/         the open-loop load: schedule, client, raw samples, exact percentiles
    cluster/      starting, killing, suspending and ending processes, with nothing left over
    scenarios/    the experiments (TOML), the runner, the checker, the verdicts
    byhand/       a blog that is up, to be broken from another terminal
    report/       tables for people                   openapi.py  documents made from the code
    terminal.py   how a command speaks and ends       doctor.py   what is in the way here

Nothing here is imported before it is needed: `import lab` costs next to nothing.
"""
