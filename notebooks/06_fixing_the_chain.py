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
# # Fixing the chain
#
# **The claim.** Services that ask each other depend on each other. Nobody leaves it at that: there
# are timeouts, retries, circuit breakers and bulkheads. Each of them helps against something, and
# each sends a bill, mostly to somebody else.
#
# You'll put them on one at a time, and ask each what it costs. (`lab/sync_chain/resilience/` has
# one file for each, and `layers.py` says in which order they stand.)

# %%
import asyncio

import pandas as pd

import checks_chain as checks
import lab
from lab.api.blogs import RequestFailed


# %%
async def readers(chain, count):
    """One reader after the other: with which status each was answered, and after how many ms."""
    seen = []
    for _ in range(count):
        try:
            feed = await chain.feed()
            seen.append({"status": 200, "ms": round(feed.ms)})
        except RequestFailed as failure:
            seen.append({"status": failure.status, "ms": round(failure.ms)})
    return pd.DataFrame(seen, index=range(1, count + 1))


# %% [markdown]
# ## A timeout
#
# Comments takes what it is asked and never answers. Without a word about it the chain waits for
# five seconds. Here query waits for 250 ms.

# %%
async with lab.up("sync-chain", settings={"timeout_ms": 250}) as stacks:
    chain = stacks["sync-chain"]
    async with chain.fault("timeout", "comments"):
        silent = await readers(chain, 1)
    async with chain.fault("latency", "comments", ms=400):
        slow = await readers(chain, 3)
        late = await chain.trace("feed")
silent

# %% [markdown]
# The reader knows soon, and query's worker is free again. Then comments got better: it answers
# everything, and needs 400 ms for it. How many of three readers have their feed now?

# %%
slow

# %%
late

# %% [markdown]
# None. Look who is still at work when the reader has gone. Comments answers each question, 150 ms
# too late for anybody to hear. A timeout is a bet that who hasn't answered by now never will.

# %% [markdown]
# ## Asking again
#
# Comments answers two questions with an error, and is well again. Query may ask again twice.

# %%
async with lab.up("sync-chain", settings={"retries": 2}) as stacks:
    chain = stacks["sync-chain"]
    async with chain.fault("error", "comments", first=2):
        helped = await readers(chain, 1)
    async with chain.fault("error", "comments"):
        in_vain = await chain.trace("feed")
helped

# %% [markdown]
# The reader has noticed nothing. And when the trouble is not a matter of two questions, but lasts?
# Count how often comments is asked for this one feed:

# %%
in_vain

# %% [markdown]
# ## Predict
#
# So whoever is in trouble is asked three times as much, just then. Here comments can answer 33
# questions a second and gets 15. Query waits for 300 ms, and asks again twice at most. Comments
# freezes once, for 0.8 s, and is well again. The phase `after` begins two seconds later.

# %%
lab.predict("retry-storm")

# %% [markdown]
# Which of the five will still have no feeds, seconds *after* it? Write it down, too; `fails` asks
# of the time during the freeze.

# %%
mine = lab.predict(
    "retry-storm",
    fails="naive",
    feed_p99_ms={"naive": 1500, "deadline": 1000},
    lost=0,
)
no_feeds_after = {"naive"}
mine

# %% [markdown]
# ## Look

# %%
run = lab.run("retry-storm", quick=True, predict=mine)
run

# %% [markdown]
# ## The picture
#
# The share of readers who had their feed, in each phase.

# %%
shares = pd.DataFrame(
    {phase: run.phase(phase)["read_feed"].success for phase in run["naive"].phases}
)
shares.round(2)

# %%
f"You said {no_feeds_after}; it was {set(shares.index[shares['after'] < 0.5]) or 'nobody'}."

# %% [markdown]
# What became of query's questions to comments: how many it had, how often it asked, how often it
# asked again, was not allowed to, or left comments alone. `given_up`: what comments was asked and
# threw away, because its asker had gone.

# %%
pd.DataFrame(
    {one.name: {**one.asks["query"]["comments"], "given_up": one.given_up} for one in run.variants}
).T[["asked", "attempts", "retried", "budget_denied", "broken", "given_up"]]

# %% [markdown]
# ## Leaving it alone
#
# The breaker by hand: who has failed five times in a row is not asked for a second. Eight readers,
# one after the other, and comments says nothing. How long does the sixth one wait?

# %%
async with lab.up("sync-chain", settings={"timeout_ms": 250, "breaker": True}) as stacks:
    chain = stacks["sync-chain"]
    async with chain.fault("timeout", "comments"):
        eight = await readers(chain, 8)
    healed = await readers(chain, 1)
    await asyncio.sleep(1)
    a_second_later = await readers(chain, 1)
eight

# %% [markdown]
# There is no feed for anybody, but to say so takes no time. And its bill: comments was well again
# when these two came, the first one at once, the second one a second later.

# %%
pd.concat({"healed": healed, "a second later": a_second_later}).droplevel(1)

# %% [markdown]
# ## Walls
#
# Now nothing fails. Moderation needs 750 ms for a verdict, and 20 comments are written a second.
# Readers need no verdict. But comments has eight workers, and a worker that waits is a worker less.
# A *bulkhead* lets four of the eight wait for moderation, and refuses who comes next. Who reads,
# and who writes, with the bulkhead and without it?

# %%
walls = lab.run("worker-pool", quick=True, only=["eight", "bulkhead", "async-bus"])
pd.DataFrame(
    {
        (kind, figure): getattr(walls.phase("during")[kind], figure)
        for kind in ("read_feed", "create_comment")
        for figure in ("success", "p50")
    }
).round(2)

# %% [markdown]
# ## What you have seen
#
# A timeout frees who waits, and wastes the work of who was merely slow. A retry saves the reader
# who met a chance error, and makes three questions of one when it was none: the storm went on by
# itself when the freeze was long over, and a look at comments alone would have shown a busy
# service. (Bronson and others: *Metastable failures*, 2021.) To wait before asking again does not
# help, for it makes the questions later and not fewer. A budget, a breaker, a deadline do, and each
# turns away somebody who might have been served. A bulkhead doesn't make one more comment possible.
# It decides who has to suffer.
#
# None of them took a dependency away. Query still can't answer without comments; it fails sooner,
# cheaper, and more politely. On the bus there is nobody to wait for, and so nothing to tune. It has
# the other bill, of notebook 04: the verdict comes late, and nobody says so.

# %% [markdown]
# ## Exercise 1
#
# Choose switches for the chain (`docs/scenario-files.md` has them all, under *Variants*). When
# comments fails twice in a row and then is well, a reader must have the feed, and all of it, with
# the comments. When comments fails for good, twenty readers, one after the other, must not make
# more than ten questions to it.

# %%
settings = {}

# %%
await checks.enough(settings)

# %% [markdown]
# ## Exercise 2
#
# Two sums. Three services in a row may each ask again three times: how often is the last one asked
# for one reader, when it fails each time? And moderation needs 400 ms; comments has sixteen workers
# and a bulkhead, so half of them may wait for it: how many comments a second can be written? As
# `{"asked": ..., "written": ...}`.

# %%
sums = ...

# %%
checks.sums(sums)
