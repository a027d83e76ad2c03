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
# # When a service dies
#
# **The claim.** Where services ask each other, one that goes down takes others with it. Where each
# service has a copy of what it needs, only requests to the service that is down fail.
#
# You will kill one, look closely, and then kill all of them, one after another.

# %%
import pandas as pd

import checks
import lab

# %% [markdown]
# ## One process less, by hand
#
# Start both blogs, write a post in each, and kill `comments`. It is a real kill: the process is
# gone.

# %%
stacks = await lab.up("both")
for blog in stacks.values():
    await blog.post("I am healthy")
    await blog.settle()
    await blog.fault("down", "comments")

# %% [markdown]
# The feed needs posts, and `posts` is healthy. First the bus:

# %%
await stacks["async-bus"].feed()

# %% [markdown]
# And now the chain. The post exists, and `posts` would return it to any caller. But:

# %%
from lab.api.blogs import RequestFailed

try:
    outcome = await stacks["sync-chain"].feed()
except RequestFailed as failure:
    outcome = failure
outcome

# %% [markdown]
# One call of three failed, and the whole feed with it. From inside:

# %%
await stacks["sync-chain"].trace("feed")

# %% [markdown]
# `heal` restarts the services, and reports what each fault did.

# %%
for blog in stacks.values():
    await blog.heal()
await stacks.close()

# %% [markdown]
# ## Predict
#
# Now under load, and each service in turn: `posts`, `comments`, `moderation`, `query`, and finally
# the bus. First draw a table on paper: for each service that is down, can clients still read the
# feed, write a post, write a comment? How many of your cells say no, for the chain and for the
# bus?

# %%
lab.predict("blast-radius")

# %%
mine = lab.predict("blast-radius", fails="all", lost={"sync-chain": 0, "async-bus": 10})
mine

# %% [markdown]
# ## Look

# %%
run = lab.run("blast-radius", quick=True, predict=mine)

# %% [markdown]
# ## The picture
#
# Each row is a service that is down; its dark cells are its blast radius.

# %%
run

# %% [markdown]
# The same for the chain as numbers: the success rate of each request, by the service that was
# down.

# %%
chain = run["sync-chain"]
pd.DataFrame(
    {
        phase: {kind: figures.success for kind, figures in chain.phase(phase).items()}
        for phase in chain.phases
        if phase.endswith(" down")
    }
).T.round(2)

# %% [markdown]
# ## What you have seen
#
# To show a feed the chain needs `query`, `posts` and `comments` at the same moment. `posts` stops
# everything, because `comments` asks it, too. `moderation`, which no reader uses, stops the
# writing of comments. Nobody planned this; each dependency seemed sensible when it was added.
#
# On the bus, a row is dark only where the killed service itself is the one requested. Even without
# the bus all requests succeed: events wait in the outbox of their publisher.
#
# The price: 100 % in a cell says that requests were *answered*. While `moderation` is down,
# `comments` accepts comments and they stay pending; while the bus is down, no news arrives
# anywhere, and the feed looks as healthy as ever. A reader cannot tell "there is nothing new" from
# "nothing arrives". Unfold *All tables* above and look at *visible* in these phases. The chain at
# least fails where you can see it.

# %% [markdown]
# ## Exercise 1
#
# All of the chain's dark cells: a set of pairs `(service that is down, request that fails)`, with
# the services' names and `"read_feed"`, `"create_post"`, `"create_comment"`. Leave out the bus,
# because the chain has none. Try it without looking at the picture.

# %%
dark = ...

# %%
checks.dark_cells(dark, run)

# %% [markdown]
# ## Exercise 2
#
# Each service is up 99 % of the time, independently of the others. What is the availability of the
# feed? Write `{"sync-chain": ..., "async-bus": ...}`, shares from 0 to 1, to three places.

# %%
up = ...

# %%
checks.up_share(up)
