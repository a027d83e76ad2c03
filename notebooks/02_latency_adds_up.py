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
# # Latency adds up
#
# **The claim.** A request that has to ask others is as slow as its slowest question. That is what
# you were told. You'll see that it is nearly true, what is true instead, and who doesn't wait at
# all.

# %%
import pandas as pd

import checks
import lab
from lab.results.oracles import chain_ms

# %% [markdown]
# ## Predict
#
# Comments takes 300 ms longer over everything, for a few seconds. Nothing else is wrong. Somebody
# reads the feed, somebody writes a post, somebody writes a comment. Who waits, and for how long?

# %%
lab.predict("slow-service")

# %% [markdown]
# Your turn: change these before you go on. A number can be said of each side, as here.

# %%
mine = lab.predict(
    "slow-service",
    fails="nobody",
    feed_p50_ms={"sync-chain": 100, "async-bus": 100},
    lost=0,
)
mine

# %% [markdown]
# ## Look
#
# Both blogs get the same load at the same time, and the same thing happens to both.

# %%
run = lab.run("slow-service", quick=True, predict=mine)
run

# %% [markdown]
# ## The same in four numbers
#
# The median of a feed, in ms, before the fault and during it.

# %%
pd.DataFrame(
    {phase: run.phase(phase)["read_feed"].p50 for phase in ("before", "during", "after")}
).round(1)

# %% [markdown]
# ## The sum, and not the slowest
#
# Now two services are slow: posts by 100 ms, comments by 300. If a feed is as slow as its slowest
# question it takes 300 ms. If the questions add up, it takes 400.

# %%
stacks = await lab.up("both")
chain, bus = stacks["sync-chain"], stacks["async-bus"]
await chain.post("A post to be read")
await chain.fault("latency", "posts", ms=100)
await chain.fault("latency", "comments", ms=300)

# %% [markdown]
# ## The picture

# %%
feed = await chain.trace("feed")
feed

# %% [markdown]
# Query asks posts, and when it has the posts, it asks comments for theirs. The second question
# can't be put before the first is answered. So the times stand one behind the other:

# %%
pd.Series({"slowest": 300, "sum": chain_ms(100, 300), "measured": round(feed.answered_ms)})

# %%
await chain.heal()

# %% [markdown]
# ## And on the bus?
#
# The same two delays, on the other side.

# %%
async with bus.fault("latency", "posts", ms=100), bus.fault("latency", "comments", ms=300):
    from_copy = await bus.trace("feed")
    written = await bus.trace("comment")
from_copy

# %% [markdown]
# Query asked nobody. But look at a comment:

# %%
written

# %% [markdown]
# ## What you have seen
#
# A call that waits for other calls takes as long as all of them together. Where one of them is far
# slower than the rest, the sum is nearly that one, and this is where the sentence about the
# slowest comes from. Only questions that are asked side by side take as long as the slowest.
#
# On the bus nobody asks, so there is nothing to add up *before the answer* of a feed. Who writes
# to a slow service waits in both, for a copy helps only those who need what others know. And the
# price: the delay that readers don't feel is in the way of the news. The verdict comes back to
# comments by the same slow door, and the comment is visible later than in the chain. In the run
# above, compare *answered* with *visible* before you call either side a win.

# %% [markdown]
# ## Exercise 1
#
# Two delays for the chain, in ms, so that a feed takes between 500 and 600 ms, while a post is
# written within 150. Write them as `{"posts": ..., "comments": ...}`, with numbers.

# %%
delays = ...

# %%
await checks.delays(chain, delays)

# %% [markdown]
# ## Exercise 2
#
# A feed of the chain takes 5 ms in query, 30 in posts and 300 in comments, one after the other.
# Somebody offers you two repairs: posts answers in no time at all, or comments answers twice as
# fast. What does each save, in ms? As `{"posts": ..., "comments": ...}`.

# %%
saved = ...

# %%
checks.saved(saved)

# %% [markdown]
# ## The end

# %%
await stacks.close()
