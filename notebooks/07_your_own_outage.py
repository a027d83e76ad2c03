# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
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
# **The claim.** A question about an outage is worth something once it is written down so that it
# can be answered with no. It takes a file and no programming: what is loaded, what is broken, what
# has to be seen.
#
# The question here comes from notebook 03. There moderation was killed, and only the writing of
# comments suffered. No reader has ever heard of moderation. So what if it isn't killed, but says
# nothing any more?

# %%
from pathlib import Path

import pandas as pd

import checks_own as checks
import lab

pd.set_option("display.max_colwidth", None)  # whole sentences in tables

# %% [markdown]
# ## The file
#
# It lies in `mine/` beside this notebook, so that you can go on with it in an editor. (In a
# terminal `lab new my-outage` writes one to start from, with a comment on every key.)
#
# Read it once, as you would read somebody else's. It says what you probably think by now: *readers
# of the chain notice nothing, for a feed needs no verdict.*

# %%
OUTAGE = """
title = "Moderation says nothing"
question = "Moderation hangs: it takes what it is asked, and never answers. Who can't read?"
claims = ["one-down", "independant"]

[load]                              # arrivals a second, for each side; people wait for 0.8 s
rate = 40
mix = { read_feed = 5, create_post = 1, create_comment = 4 }
timeout_ms = 800

[phases]                            # seconds; a quick run takes half of them
before = 3
during = 6
after = 3

[[method]]                          # what is broken, during `during`
fault = "hang"
target = "moderator"

[variants.sync-chain]
[variants.async-bus]

[steady_state]                      # who isn't well before proves nothing by being ill
that = ["read_feed.success >= 0.99", "create_comment.success >= 0.97"]

[[expect]]
says = "Readers of the chain notice nothing: a feed needs no verdict."
claim = "one-down"
that = "sync-chain.during.read_feed.sucess >= 0.99"

[[expect]]
says = "Whoever comments in the chain waits in vain: a comment needs one."
claim = "one-down"
that = "sync-chain.during.create_comment.success <= 0.6"

[[expect]]
says = "On the bus both go on."
claim = "independent"
that = '''
async-bus.during.read_feed.success >= 0.99
and async-bus.during.create_comment.success >= 0.99
'''

[[expect]]
says = "Nothing that was acknowledged is lost, on either side."
that = "sync-chain.data.lost + async-bus.data.lost == 0"
"""
file = Path("mine") / "my-outage.toml"
file.parent.mkdir(exist_ok=True)
_ = file.write_text(OUTAGE)

# %% [markdown]
# ## What is wrong with it
#
# Three words in it are misspelt. Nothing is started before all of it makes sense, and all problems
# are told at once, each with its line. (In a terminal: `lab validate mine/my-outage.toml`.) The
# fourth one follows from the first.

# %%
try:
    told = lab.predict(str(file))
except ValueError as error:
    told = str(error).splitlines()
told

# %% [markdown]
# A path like `sync-chain.during.read_feed.success` names a figure of the result: of whom, in which
# phase, of which request, what. Where there is no such figure, no run could ever say no, and so the
# file isn't taken.
#
# Mended:

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
# A file that makes sense can ask:

# %%
lab.predict(str(file))

# %% [markdown]
# Put your own answers here, also if you wrote the file yourself. Then above all.

# %%
mine = lab.predict(
    str(file),
    fails="nobody",
    feed_p99_ms={"sync-chain": 50, "async-bus": 50},
    lost=0,
)
mine

# %% [markdown]
# ## Look

# %%
run = lab.run(str(file), quick=True, predict=mine)

# %% [markdown]
# First the expectations. Each was measured against its comparison, and each could have failed.

# %%
pd.DataFrame(
    {"says": one.says, "verdict": one.verdict, "measured": one.measured, "wanted": one.expected}
    for one in run.expectations
).set_index("says")

# %% [markdown]
# One did. The run is a good one all the same: `run.valid` says that the lab was honest, and
# `run.exit_code` is 1, for the file was wrong about the world. (At 3 there would be no result.)

# %%
pd.Series({"valid": run.valid, "exit_code": run.exit_code})

# %% [markdown]
# ## The picture
#
# Look at *Success over time*. In the chain comments fail at once and feeds do not: for a while all
# is well with them, and then none is answered. And both are well again before the fault is over.
# Why? (Who is still waiting when moderation wakes?)

# %%
run

# %% [markdown]
# ## What you have seen
#
# Killed, moderation refuses whoever asks, and comments has its worker back at once. Hanging, it
# keeps them waiting. Comments has eight workers, and sixteen comments a second are written: before
# a second has gone by all eight wait for a verdict. Now somebody reads the feed. Query asks
# comments for rows that are right there, and nobody is left to answer. So a service of which
# readers have never heard takes the feed away, by way of a third one that is perfectly well. (Who
# asks in the last 0.8 seconds is lucky: moderation wakes before their patience ends.)
#
# The sentence in the file was true, a feed needs no verdict, and the conclusion was wrong. That is
# what the file is for: the sentence alone would have stayed true for ever.
#
# On the bus comments takes what is written and says `pending`. Nobody's worker waits. The price:
# look at *visible* in the tables, or at the feeds of those seconds, in which comments stand that
# nobody has judged, the oranges among them.

# %% [markdown]
# ## Exercise 1
#
# Save the chain's readers. Write a third variant, lines as they stand in the file: named `mended`,
# of the arrangement `sync-chain`, with one of the switches in `docs/scenario-files.md` that protect
# those who ask. At least nine in ten must be able to read while moderation hangs. (And what did
# that cost? The check says it.)

# %%
mended = ...

# %%
await checks.mended(OUTAGE, mended)

# %% [markdown]
# ## Exercise 2
#
# The file says what the bus gains and not what it pays. Write the comparison that shows it: while
# moderation hangs, half of the comments on the bus take at least 300 ms longer than before until
# they are visible (`visible_p50`). The check asks this run; and it asks what the run would have
# been with nothing broken, for there the comparison must *not* hold.

# %%
that = ...

# %%
checks.can_fail(that, run)
