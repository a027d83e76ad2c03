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
# # A thousand services
#
# **The claim.** What is rare in one service is usual in a request that needs a hundred of them. And
# a fleet can stay ill after the cause is gone.
#
# No laptop holds a thousand services, so here no process runs: a model makes the figures, with
# times that real runs of the lab measured. `lab simulate --validate` shows how far it is off.
# It needs one package more: `pip install 'sync-async-lab[simulate]'`.

# %%
import pandas as pd

import lab
from checks import fleet as checks

# %% [markdown]
# ## Predict
#
# One answer of `comments` in a hundred takes a second. A feed waits for the comments of one shard,
# of ten, of a hundred. Write down what share of the feeds takes a second.

# %%
guess = {1: 0.01, 10: 0.01, 100: 0.01}

# %% [markdown]
# ## Look
#
# Four hundred services: a hundred shards of the blog. The slowness is on all of them, and the rate
# is small, so no queue makes it worse. The first simulation takes half a minute longer,
# because the engine is compiled.

# %%
sizes = lab.simulate(
    "tail-at-scale", services=400, rate=200, broken=100, sweep="width=1,10,100", quick=True
)
sizes

# %% [markdown]
# The same on a page with one slider, for a lecture: open the file in a browser.

# %%
sizes.page

# %% [markdown]
# ## The share of slow feeds
#
# Each simulation saved its requests, as a real run does.


# %%
def share_of_slow(result, variant):
    samples = pd.read_csv(result.folder / "samples.csv")
    feeds = samples[(samples.variant == variant) & (samples.phase == "during")]
    return float((feeds.latency_ms > 700).mean())


widths = (1, 10, 100)
pd.DataFrame(
    {
        "guess": [guess[width] for width in widths],
        "1 - 0.99ⁿ": [1 - 0.99**width for width in widths],
        **{
            variant: [share_of_slow(size, variant) for size in sizes]
            for variant in ("plain", "hedged", "async-bus")
        },
    },
    index=pd.Index(widths, name="answers a feed needs"),
).round(3)

# %% [markdown]
# Nothing got slower. There are only more chances for one of the answers to be late. `hedged` sends
# a request again when no answer came for 50 ms, and takes the first answer. `async-bus` needs no
# answer of others.
#
# ## A storm that stays
#
# Now one `comments` of twenty-five freezes for 0.8 seconds, once. Feeds need four shards each.
# `naive` retries twice; `budget` allows one retry for ten calls; with `deadline`, a service skips
# requests whose caller has given up.

# %%
storm = lab.simulate("fleet-storm", services=100, width=4)
storm

# %%
pd.DataFrame(
    {phase: storm.phase(phase)["read_feed"].success for phase in ("before", "during", "after")}
).round(3)

# %% [markdown]
# ## What you have seen
#
# A share p of slow answers becomes 1 - (1 - p)ⁿ of slow requests. With a hundred answers the p99
# of a service is below the median of the request. That is why large companies look at the p99.9 of
# their services, and why a hedged request, which costs a few per cent, is worth it there.
#
# The freeze was over after 0.8 seconds. What stayed was the work that it had piled up: requests for
# which no caller waits any more, each with its retries. The service works all the time, and none of
# its answers comes in time. The rest of the fleet is well, and every feed that needs the one shard
# fails: 4 of 25. A budget and a deadline help because they remove work, and not because they wait.
#
# This was a model. It knows queues, workers, timeouts and retries. It does not know that a machine
# fills up, and where it missed the real lab, it leaves the figure out.

# %% [markdown]
# ## Exercise 1
#
# Of 1000 answers, 2 are slow. How many answers may a feed need at most, so that no more than one
# feed in ten is slow?

# %%
most = ...

# %%
checks.widest(most, slow=0.002, bearable=0.1)

# %% [markdown]
# ## Exercise 2
#
# `retry-storm` is the same freeze in one blog, with five variants: `naive`, `jitter` (which waits
# a random time before a retry), `budget`, `breaker` and `deadline`. Which of them leave the storm?
# Write the set of their names; the check simulates it.

# %%
leaves = ...

# %%
checks.left(leaves)
