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
# # Fixing the chain
#
# **The claim.** Services that ask each other depend on each other. Timeouts, retries, circuit
# breakers and bulkheads soften this. Each of them helps against something, and each has a price,
# which another service usually pays.
#
# You will switch them on one at a time, and measure the price of each.
# (`lab/sync_chain/resilience/` has one file for each, and `layers.py` has their order.)

# %%
import asyncio

import pandas as pd

import lab
from checks import chain as checks
from lab.api.blogs import RequestFailed


# %%
async def readers(chain, count):
    """One reader after the other: the status of each response, and its latency in ms."""
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
# `comments` accepts requests and never answers. By default the chain waits for five seconds. Here
# `query` waits for 250 ms.

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
# The reader gets an error soon, and the worker of `query` is free again. Then `comments` improves:
# it answers everything, after 400 ms. How many of three readers get their feed now?

# %%
slow

# %%
late

# %% [markdown]
# None. Look which service still works after the reader has gone. `comments` answers each request,
# 150 ms too late. A timeout is a bet that a response that has not come by now never will.

# %% [markdown]
# ## Retries
#
# `comments` answers two requests with an error, and is healthy again. `query` may retry twice.

# %%
async with lab.up("sync-chain", settings={"retries": 2}) as stacks:
    chain = stacks["sync-chain"]
    async with chain.fault("error", "comments", first=2):
        helped = await readers(chain, 1)
    async with chain.fault("error", "comments"):
        in_vain = await chain.trace("feed")
helped

# %% [markdown]
# The reader noticed nothing. And if the trouble lasts longer than two requests? Count how often
# `query` calls `comments` for this one feed:

# %%
in_vain

# %% [markdown]
# ## Predict
#
# So a service in trouble gets three times as many requests, exactly then. Here `comments` can
# answer 33 requests a second and gets 15. `query` waits for 300 ms, and retries at most twice.
# `comments` freezes once, for 0.8 s, and is healthy again. The phase `after` begins two seconds
# later.

# %%
lab.predict("retry-storm")

# %% [markdown]
# Which of the five variants will still fail, seconds *after* the freeze? Write this down, too;
# `fails` means the time during the freeze.

# %%
mine = lab.predict(
    "retry-storm",
    fails="naive",
    feed_p50_ms={"naive": 1500, "deadline": 1000},
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
# The success rate of the feed, in each phase.

# %%
shares = pd.DataFrame(
    {phase: run.phase(phase)["read_feed"].success for phase in run["naive"].phases}
)
shares.round(2)

# %%
f"You predicted {no_feeds_after}; it was {set(shares.index[shares['after'] < 0.5]) or 'none'}."

# %% [markdown]
# The calls from `query` to `comments`: how many it needed (`asked`), how many it sent
# (`attempts`), how many were retries, how many the budget or the breaker prevented. `given_up`:
# requests that `comments` dropped because the caller no longer waited.

# %%
pd.DataFrame(
    {one.name: {**one.asks["query"]["comments"], "given_up": one.given_up} for one in run.variants}
).T[["asked", "attempts", "retried", "budget_denied", "broken", "given_up"]]

# %% [markdown]
# ## A circuit breaker
#
# After five failures in a row, `query` stops calling `comments` for a second. Eight readers, one
# after the other, while `comments` does not answer. How long does the sixth one wait?

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
# No reader gets a feed, but the error takes no time. The price: `comments` was healthy again when
# the next two readers came, the first at once, the second one a second later.

# %%
pd.concat({"healed": healed, "a second later": a_second_later}).droplevel(1)

# %% [markdown]
# ## A bulkhead
#
# Now nothing fails. `moderation` needs 750 ms for a verdict, and clients write 20 comments a
# second. Readers need no verdict. But `comments` has eight workers, and a worker that waits does
# nothing else. A *bulkhead* lets four of the eight wait for `moderation`, and refuses further
# calls. Who can read, and who can write, with the bulkhead and without it?

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
# A timeout frees the caller, and wastes the work of a service that was merely slow. A retry saves
# a reader from a rare error, and triples the requests in an outage: the storm continued long after
# the freeze, and `comments` alone looked like a busy service. (Bronson and others: *Metastable
# failures*, 2021.) A wait before the retry does not help, because it delays requests and does not
# reduce them. A budget, a breaker and a deadline do help, and each turns away a request that might
# have succeeded. A bulkhead does not make one more comment possible. It decides which requests
# fail.
#
# None of them removed a dependency. `query` still cannot answer without `comments`; it fails
# sooner and cheaper. On the bus `query` waits for no service, so there is nothing to tune. The bus
# has the other price, of notebook 04: the verdict comes late, and the feed does not say so.

# %% [markdown]
# ## Exercise 1
#
# Choose switches for the chain (`docs/scenario-files.md` lists them under *Variants*). If
# `comments` fails twice in a row and is healthy afterwards, a reader must get the whole feed, with
# the comments. If `comments` fails for good, twenty readers, one after the other, must cause at
# most ten requests to it.

# %%
settings = {}

# %%
await checks.enough(settings)

# %% [markdown]
# ## Exercise 2
#
# Two calculations. Three services in a row may each retry three times: how many requests does the
# last one get for one reader, if all of them fail? And `moderation` needs 400 ms; `comments` has
# sixteen workers and a bulkhead, so half of them may wait for it: how many comments a second can
# be written? Write `{"asked": ..., "written": ...}`.

# %%
sums = ...

# %%
checks.sums(sums)
