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
# # Latency adds up
#
# **The claim.** A request that depends on other calls is as slow as its slowest call. This is what
# the lecture said. You will see that it is nearly true, what is true instead, and which requests
# do not wait at all.

# %%
import pandas as pd

import checks
import lab
from lab.results.oracles import chain_ms

# %% [markdown]
# ## Predict
#
# The `comments` service becomes 300 ms slower for a few seconds. Nothing else is wrong. One client
# reads the feed, one writes a post, one writes a comment. Who waits, and for how long?

# %%
lab.predict("slow-service")

# %% [markdown]
# Change these before you go on. You can give one number for both sides, or one for each, as here.

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
# Both blogs get the same load and the same fault at the same time.

# %%
run = lab.run("slow-service", quick=True, predict=mine)
run

# %% [markdown]
# ## The same in six numbers
#
# The median (p50) of a feed, in ms, before, during and after the fault.

# %%
pd.DataFrame(
    {phase: run.phase(phase)["read_feed"].p50 for phase in ("before", "during", "after")}
).round(1)

# %% [markdown]
# ## The sum, not the slowest
#
# Now two services are slow: `posts` by 100 ms, `comments` by 300. If a feed is as slow as its
# slowest call, it takes 300 ms. If the calls add up, it takes 400.

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
# `query` asks `posts`, and when it has the posts, it asks `comments` for theirs. It cannot send
# the second request before the first response. So the times follow each other:

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
# `query` called no other service. But look at a comment:

# %%
written

# %% [markdown]
# ## What you have seen
#
# A call that waits for other calls takes as long as all of them together. If one is far slower
# than the rest, the sum is nearly that one; this is where the sentence about the slowest comes
# from. Only calls that run side by side take as long as the slowest.
#
# On the bus `query` calls no service, so nothing adds up *before the answer* of a feed. A client
# that writes to the slow service waits in both stacks: a copy helps only services that need the
# data of others. The price: readers do not feel the delay, but events do. The verdict reaches
# `comments` through the same slow service, so the comment becomes visible later than in the chain.
# In the run above, compare *answered* with *visible* before you declare a winner.

# %% [markdown]
# ## Exercise 1
#
# Choose two delays for the chain, in ms, so that a feed takes between 500 and 600 ms, while a post
# is written within 150. Write them as `{"posts": ..., "comments": ...}`, with numbers.

# %%
delays = ...

# %%
await checks.delays(chain, delays)

# %% [markdown]
# ## Exercise 2
#
# A feed of the chain takes 5 ms in `query`, 30 in `posts` and 300 in `comments`, one after the
# other. There are two possible repairs: `posts` answers immediately, or `comments` answers twice
# as fast. How many ms does each save? Write `{"posts": ..., "comments": ...}`.

# %%
saved = ...

# %%
checks.saved(saved)

# %% [markdown]
# ## The end

# %%
await stacks.close()
