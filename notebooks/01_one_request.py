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
# # One request, followed through both
#
# **The claim.** Two blogs that look the same from outside do different things with the same
# request. In one, a comment is asked for its way through three services before its writer has an
# answer. In the other the answer comes first, and the way afterwards.
#
# You'll send one comment to each, and follow it into every process.

# %%
import pandas as pd

import checks
import lab

# %% [markdown]
# Both blogs, with all their processes and databases. They stay up until the last cell.

# %%
stacks = await lab.up("both")
stacks

# %% [markdown]
# ## Predict
#
# A comment is written. The rule has to be applied to it (no oranges!), the post has to be there,
# and in the end the feed shows it. Meanwhile moderation is slow: 300 ms longer for everything.
#
# How many milliseconds does the *writer* wait, in the chain and on the bus? Change these numbers.

# %%
moderation_slow_ms = 300
mine = {"sync-chain": 300, "async-bus": 300}

# %% [markdown]
# ## First with nothing broken
#
# `trace` sends a comment and follows it. Time goes from left to right; a line under another one,
# and indented, came of it.

# %%
calm = await stacks["sync-chain"].trace("comment")
calm

# %% [markdown]
# That was the chain. *Comments* asks posts, then moderation, and all that time the client waits.
# The diamond below is the moment of the answer; soon afterwards the feed shows the comment.
#
# Now the bus.

# %%
told = await stacks["async-bus"].trace("comment")
told

# %% [markdown]
# The answer came when comments had looked into its own database and nowhere else. All that follows
# happens after it: dots are events on their way. Moderation hears, judges and tells; comments
# hears and tells; query hears. Only then the feed shows the comment with its verdict.

# %% [markdown]
# ## The events
#
# What one comment meant for the others, in the order in which it was told.

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
# ## You, and what came out
#
# Milliseconds until the writer had the answer, and until the feed showed the comment.

# %%
pd.DataFrame(
    {
        "you said": mine,
        "answered": {name: trace.answered_ms for name, trace in slow.items()},
        "visible": {name: trace.visible_ms for name, trace in slow.items()},
    }
).round(1)

# %% [markdown]
# ## What you have seen
#
# In the chain the 300 ms stand between the writer and the answer, for comments has to wait for the
# verdict before it can say anything. On the bus nobody waits for moderation, and so its slowness
# isn't in the answer. It isn't gone either: it stands in the column *visible*, in both.
#
# So the bus did not make anything faster. It moved the waiting, from before the answer to behind
# it. And what it answers is less: `pending`, where the chain says `approved` or `rejected`.

# %% [markdown]
# ## Exercise 1
#
# Look at the chain's picture, `calm`. Which services were at work before the client had its
# answer? A set of names. (Then ask yourself the same of `told`.)

# %%
before_the_answer = ...

# %%
checks.waited_for(before_the_answer, calm)

# %% [markdown]
# ## Exercise 2
#
# Find a text that moderation rejects. And say who is told of that *in the answer* to the comment:
# a set with the names of these stacks.

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
