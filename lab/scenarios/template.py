"""The starter file for a new scenario: a small scenario that runs, with each part explained."""

import re
import textwrap
from pathlib import Path

from lab.faults.kinds import KINDS
from lab.scenarios.names import builtin_names
from lab.support.files import write_new

TEMPLATE = '''\
# A scenario of your own. It runs as it is:
#     lab validate {file}      says what is wrong with it, and where
#     lab run {file} --quick   runs it
# docs/scenario-files.md explains every key; `lab show NAME` shows the built-in ones.

title = "{title}"

# Shown before the run: what should people predict?
question = """
The `comments` service becomes 300 ms slower for a while. Who waits, and for how long?
"""

# Which claims of the course it bears on, by the ids that `lab claims` lists.
claims = ["slowest-hop", "independent"]

# Arrivals a second for each variant, and what they are, by weight.
[load]
rate = 20
mix = {{ read_feed = 6, create_post = 1, create_comment = 3 }}
timeout_ms = 2000

# Seconds. Faults act in `during`; `--quick` halves everything.
[phases]
before = 3
during = 5
after = 4

# What is broken: one [[method]] for each fault. Several may act at once, or one after another with
# `at` and `seconds` (seconds into `during`).
#   kinds:   <kinds>
#   targets: posts, comments, moderation, query, event-bus
[[method]]
fault = "latency"
target = "comments"
ms = 300

# What is compared, side by side. A variant is named after its arrangement (sync-chain, async-bus,
# request-reply, monolith) or names it, and may set switches.
[variants.sync-chain]

[variants.async-bus]

# [variants.impatient]
# arrangement = "sync-chain"
# timeout_ms = 100

# Must hold for every variant before anything is broken, or the run is no result.
[steady_state]
that = ["read_feed.success >= 0.99", "create_comment.success >= 0.99"]

# What theory predicts, to compare with what is measured. It decides no verdict.
[[predict]]
says = "A feed of the chain takes as long as its calls in a row."
predicted = "chain_ms(sync-chain.before.read_feed.p50, 300)"
measured = "sync-chain.during.read_feed.p50"

# What must come out. Each expectation is a sentence and the comparison that decides it.
[[expect]]
says = "The chain's readers wait for comments."
claim = "slowest-hop"
that = "sync-chain.during.read_feed.p50 >= sync-chain.before.read_feed.p50 + 250"

[[expect]]
says = "Readers on the bus notice nothing: query answers from its own copy."
claim = "independent"
that = "async-bus.during.read_feed.p50 <= async-bus.before.read_feed.p50 + 50"

# What `lab live --script {file}` asks the room before the fault (key a), and then measures.
[[bet]]
question = "comments becomes 300 ms slower. Whose feed stays up to date?"
measure = "fresh"

# Shown after the run: what should people have learnt?
[explain]
text = """
A caller waits as long as the service it calls. A service with a copy does not wait.
"""
'''.replace("<kinds>", textwrap.fill(", ".join(KINDS), 90, subsequent_indent="#            "))


class ScenarioFileExists(FileExistsError):
    """A file of that name exists; it is left unchanged."""


def create_scenario_file(name: str, folder: Path) -> Path:
    """Write a new scenario file into `folder` and return its path. Raises ValueError for a name
    that is not valid or built in, ScenarioFileExists, OSError."""
    stem = name.removesuffix(".toml")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", stem):
        raise ValueError(
            f"{name!r} is no name for a scenario. Use small letters, digits and hyphens, "
            "as in my-outage."
        )
    if stem in builtin_names():
        raise ValueError(f"{stem} comes with the lab. Choose another name, for example my-{stem}.")
    path = folder / f"{stem}.toml"
    try:
        title = stem.replace("-", " ").capitalize()
        write_new(path, TEMPLATE.format(file=path.name, title=title))
    except FileExistsError:
        raise ScenarioFileExists(
            f"{path} exists, and stays as it is. Choose another name."
        ) from None
    return path
