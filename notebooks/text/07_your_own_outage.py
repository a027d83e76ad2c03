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
# # Your own outage
#
# **The claim.** A question about an outage is useful once it is written so that a run can answer
# it with no. This takes a file and no programming: the load, the fault, and what must be seen.
#
# The question here comes from notebook 03. There `moderation` was killed, and only the writing of
# comments failed. No reader uses `moderation`. What if it is not killed, but stops answering?

# %%
from pathlib import Path

import pandas as pd

import lab
from checks import own as checks

pd.set_option("display.max_colwidth", None)  # whole sentences in tables

# %% [markdown]
# ## The file
#
# It is in `mine/` beside this notebook, so you can also edit it in an editor. (In a terminal `lab
# new my-outage` writes one to start from, with a comment on every key.)
#
# Read it once, as if another student had written it. It says what you probably think by now:
# *readers of the chain notice nothing, because a feed needs no verdict.*

# %%
OUTAGE = """
title = "Moderation says nothing"
question = "Moderation hangs: it accepts requests and never answers. Can clients still read?"
claims = ["one-down", "independant"]

[load]                              # requests a second, for each side; clients wait for 0.8 s
rate = 40
mix = { read_feed = 5, create_post = 1, create_comment = 4 }
timeout_ms = 800

[phases]                            # seconds; a quick run takes half of them
before = 3
during = 6
after = 3

[[method]]                          # the fault, active in the phase `during`
fault = "hang"
target = "moderator"

[variants.sync-chain]
[variants.async-bus]

[steady_state]                      # what must hold before the fault
that = ["read_feed.success >= 0.99", "create_comment.success >= 0.97"]

[[expect]]
says = "Readers of the chain notice nothing: a feed needs no verdict."
claim = "one-down"
that = "sync-chain.during.read_feed.sucess >= 0.99"

[[expect]]
says = "Comments in the chain fail: each needs a verdict."
claim = "one-down"
that = "sync-chain.during.create_comment.success <= 0.6"

[[expect]]
says = "On the bus both succeed."
claim = "independent"
that = '''
async-bus.during.read_feed.success >= 0.99
and async-bus.during.create_comment.success >= 0.99
'''

[[expect]]
says = "No acknowledged write is lost, on either side."
that = "sync-chain.data.lost + async-bus.data.lost == 0"
"""
file = Path("mine") / "my-outage.toml"
file.parent.mkdir(exist_ok=True)
_ = file.write_text(OUTAGE)

# %% [markdown]
# ## What is wrong with it
#
# Three words in it are misspelt. The lab checks the whole file before it starts anything, and
# lists all problems, each with its line. (In a terminal: `lab validate mine/my-outage.toml`.) The
# fourth problem follows from the first.

# %%
try:
    problems = lab.predict(str(file))
except ValueError as error:
    problems = str(error).splitlines()
problems

# %% [markdown]
# A path like `sync-chain.during.read_feed.success` names a figure of the result: variant, phase,
# request, figure. If a figure does not exist, no run could answer with no, so the lab refuses the
# file.
#
# Corrected:

# %%
for wrong, right in {
    "independant": "independent",
    "moderator": "moderation",
    "sucess": "success",
}.items():
    OUTAGE = OUTAGE.replace(wrong, right)
_ = file.write_text(OUTAGE)

# %% [markdown]
# ## Predict
#
# From a valid file, the lab can derive questions:

# %%
lab.predict(str(file))

# %% [markdown]
# Change these answers, above all if you wrote the file yourself.

# %%
mine = lab.predict(
    str(file),
    fails="nobody",
    feed_p50_ms={"sync-chain": 50, "async-bus": 50},
    lost=0,
)
mine

# %% [markdown]
# ## Look

# %%
run = lab.run(str(file), quick=True, predict=mine)

# %% [markdown]
# First the expectations. Each compares measured figures, and each could have failed.

# %%
pd.DataFrame(
    {"says": one.says, "verdict": one.verdict, "measured": one.measured, "wanted": one.expected}
    for one in run.expectations
).set_index("says")

# %% [markdown]
# One failed. The run is still good: `run.valid` says that its figures can be trusted, and
# `run.exit_code` is 1, because the file was wrong about the world. (With 3 there would be no
# result.)

# %%
pd.Series({"valid": run.valid, "exit_code": run.exit_code})

# %% [markdown]
# ## The picture
#
# Look at *Success over time*. In the chain, comments fail at once and feeds do not: for a while
# feeds succeed, and then all of them fail. Both succeed again before the fault ends. Why? (Which
# requests still wait when `moderation` continues?)

# %%
run

# %% [markdown]
# ## What you have seen
#
# A killed `moderation` refuses every call, and `comments` has its worker back at once. A hanging
# `moderation` keeps callers waiting. `comments` has eight workers, and clients write sixteen
# comments a second: within a second all eight workers wait for a verdict. Now a client reads the
# feed. `query` asks `comments` for rows that exist, and no worker is free to answer. So a service
# that readers never use stops the feed, through a third one that is perfectly healthy. (A request
# in the last 0.8 seconds is lucky: `moderation` continues before its timeout.)
#
# The sentence in the file was true, a feed needs no verdict, and the conclusion was wrong. This is
# why you write an expectation: nothing would ever have contradicted the sentence alone.
#
# On the bus `comments` accepts each comment and answers `pending`. No worker waits. The price:
# look at *visible* in the tables, or at the feeds of those seconds: they contain comments that
# `moderation` has not judged, the oranges among them.

# %% [markdown]
# ## Exercise 1
#
# Protect the chain's readers. Write a third variant, as lines of the file: its name is `mended`,
# its arrangement `sync-chain`, with one of the switches in `docs/scenario-files.md` for services
# that ask. At least 90 % of the feeds must succeed while `moderation` hangs. (And what did that
# cost? The check tells you.)

# %%
mended = ...

# %%
await checks.mended(OUTAGE, mended)

# %% [markdown]
# ## Exercise 2
#
# The file says what the bus gains, not what it costs. Write the comparison that shows the price:
# while `moderation` hangs, half of the comments on the bus become visible at least 300 ms later
# than before (`visible_p50`). The check evaluates it on this run. It also evaluates it on a run in
# which nothing was broken, where the comparison must *not* hold.

# %%
that = ...

# %%
checks.can_fail(that, run)
