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
# # One request, followed through both
#
# **The claim.** Two blogs that look the same from outside do different things with the same
# request. In the chain, a comment travels through three services before its writer gets an answer.
# On the bus the answer comes first, and the way through the services afterwards.
#
# You will send one comment to each blog, and follow it into every process.

# %%
import pandas as pd

import checks
import lab

# %% [markdown]
# Both blogs, with all their processes and databases. They run until the last cell.

# %%
stacks = await lab.up("both")
stacks

# %% [markdown]
# ## Predict
#
# A client writes a comment. `moderation` must judge it (no oranges!), the post must exist, and in
# the end the feed shows the comment. Meanwhile `moderation` is slow: 300 ms longer for everything.
#
# How many milliseconds does the *writer* wait, in the chain and on the bus? Change these numbers.

# %%
moderation_slow_ms = 300
mine = {"sync-chain": 300, "async-bus": 300}

# %% [markdown]
# ## First without a fault
#
# `trace` sends a comment and follows it. Time runs from left to right; an indented line was caused
# by the line above it.

# %%
calm = await stacks["sync-chain"].trace("comment")
calm

# %% [markdown]
# That was the chain. `comments` asks `posts`, then `moderation`, and the client waits all that
# time. The diamond marks the moment of the answer; soon afterwards the feed shows the comment.
#
# Now the bus.

# %%
on_the_bus = await stacks["async-bus"].trace("comment")
on_the_bus

# %% [markdown]
# The answer came as soon as `comments` had read its own database. Everything else happens
# afterwards; dots are events on their way. `moderation` consumes the comment, judges it and
# publishes a verdict; `comments` consumes that and publishes an update; `query` consumes the
# update. Only then does the feed show the comment with its verdict.

# %% [markdown]
# ## The events
#
# All events that one comment caused, in the order of the bus.

# %%
await stacks["async-bus"].events()

# %% [markdown]
# ## Now with a slow moderation

# %%
slow = {}
for name, blog in stacks.items():
    async with blog.fault("latency", "moderation", ms=moderation_slow_ms):
        slow[name] = await blog.trace("comment")
slow["sync-chain"]

# %%
slow["async-bus"]

# %% [markdown]
# ## Your prediction and the result
#
# Milliseconds until the writer had the answer, and until the feed showed the comment.

# %%
pd.DataFrame(
    {
        "predicted": mine,
        "answered": {name: trace.answered_ms for name, trace in slow.items()},
        "visible": {name: trace.visible_ms for name, trace in slow.items()},
    }
).round(1)

# %% [markdown]
# ## What you have seen
#
# In the chain the writer waits for the 300 ms, because `comments` needs the verdict before it can
# answer. On the bus the answer does not contain them, because no service waits for `moderation`.
# They have not gone: the column *visible* contains them, in both.
#
# So the bus made nothing faster. It moved the waiting from before the answer to after it. And its
# answer says less: `pending`, where the chain says `approved` or `rejected`.

# %% [markdown]
# ## Exercise 1
#
# Look at the chain's picture, `calm`. Which services worked before the client had its answer?
# Write a set of names. (Then ask yourself the same about the bus.)

# %%
before_the_answer = ...

# %%
checks.waited_for(before_the_answer, calm)

# %% [markdown]
# ## Exercise 2
#
# Find a text that `moderation` rejects. In which stacks does the *answer* to the comment already
# say so? Write a set with the names of these stacks.

# %%
text = ...
told_at_once = ...

# %%
await checks.rejected(stacks, text, told_at_once)

# %% [markdown]
# ## The end
#
# This ends all processes. (Restarting the kernel does so, too.)

# %%
await stacks.close()
