# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Find the outage
#
# **The claim.** Each promise of a blog is kept by one mechanism. Without it, one write and one
# failure are enough to break the promise, and a program finds them.
#
# No process runs here. `lab.search` runs the real services in one thread, with virtual time and a
# simulated network. It tries histories of writes and failures until one breaks the promise. Then it
# leaves out whatever is not needed.

# %%
import pandas as pd

import lab
from checks import outages as checks

pd.set_option("display.max_colwidth", None)

# %% [markdown]
# ## Predict
#
# `outbox=off`: a service on the bus stores a write, answers 201, and then publishes the event. How
# many writes and how many failures does the smallest outage need in which an acknowledged write
# never reaches its readers? Which process fails?

# %%
guess = {"writes": 10, "failures": 3, "fails": "comments"}

# %% [markdown]
# ## Search without the outbox

# %%
found = lab.search("lost", "outbox=off")
found

# %% [markdown]
# Time goes down. A filled square is a commit, a cross is a crash or a message that never arrives.
# The hatched bar is the time in which the process is down.

# %%
failures = [deed for deed in found.history.deeds if deed.kind not in ("post", "comment")]
pd.DataFrame(
    {
        "guess": guess,
        "found": {
            "writes": len(found.history.deeds) - len(failures),
            "failures": len(failures),
            "fails": ", ".join(deed.target for deed in failures),
        },
    }
)

# %% [markdown]
# No service reports this outage: the client has its 201, and `comments` has the comment. A test
# with a thousand comments finds it only if one of them arrives while the bus is down, and if the
# test compares what two services store.
#
# ## Search with the outbox
#
# The same search, with the outbox on. It tries five hundred histories, the later ones with up to
# five writes and five failures.

# %%
lab.search("lost", histories=500)

# %% [markdown]
# That no history was found is no proof. It says what was tried, and other seeds try others:
# `lab.search("lost", seed=2)`.
#
# ## The ladder
#
# One promise after the other: the smallest history that breaks it without its mechanism, and how
# many were tried with it. In `sync-chain`, `comments` asks `moderation` before it stores a comment.
# If `moderation` crashes after its commit, its verdict has no comment. In `async-bus` the comment
# is stored first.

# %%
rungs = {
    "a comment is whole": ("orphaned > 0", "sync-chain"),
    "a consumer that was down catches up": ("missing", "bus=course"),
    "what was acknowledged is published": ("missing", "outbox=off"),
    "what comes twice is applied once": ("doubled", "dedupe=off"),
}
ladder = {}
for promise, (goal, without) in rungs.items():
    broken, kept = lab.search(goal, without), lab.search(goal, histories=200)
    ladder[promise] = {
        "without": without,
        "smallest history": "; ".join(broken.deeds),
        "histories with it": kept.tried,
        "broken with it": kept.history is not None,
    }
pd.DataFrame(ladder).T

# %% [markdown]
# ## What no switch removes

# %%
lab.search("stale:5s")

# %% [markdown]
# Everything is on, and a reader still sees a feed without a comment that was acknowledged five
# seconds before. Nothing is lost: the comment arrives after the bus is back. That is the price of
# answering before the readers know.
#
# ## What you have seen
#
# The smallest outage needs one write and one failure. Load is not what makes it happen, only what
# makes it likely.
#
# Each mechanism closes one gap between two steps: the outbox between a commit and its event, the
# inbox between an event and its second delivery, the log between an event and a consumer that is
# down. A failure inside the gap breaks the promise, and a failure anywhere else does not.
#
# The search runs the code of the services. What it replaces is the clock, the network and the disk.
# `lab search lost --variant outbox=off --prove 3` does the same on real processes.

# %% [markdown]
# ## Exercise 1
#
# `doubled`: a write is stored, judged or published twice. Which of the variants `outbox=off`,
# `dedupe=off` and `bus=course` can do that? Answer first, then the check searches each of them.

# %%
doubles = ...

# %%
checks.reaching(doubles, "doubled", among=("outbox=off", "dedupe=off", "bus=course"))

# %% [markdown]
# ## Exercise 2
#
# A goal may be an expression over the figures of the checker, such as `"duplicated > 0"`. `missing`
# counts the acknowledged writes that the feed lacks in the end. Write a goal whose smallest history
# without the outbox loses two writes to one failure.

# %%
goal = ...

# %%
checks.two_by_one_failure(goal, "outbox=off")
