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
# # When a service dies
#
# **The claim.** Where services ask each other, one that goes down takes others with it. Where each
# has a copy of what it needs, what goes dark is its own door and no other.
#
# You'll kill one, look closely, and then kill them all, one after another.

# %%
import pandas as pd

import checks
import lab

# %% [markdown]
# ## One process less, by hand
#
# Both blogs are started, each has a post, and then `comments` is killed. A real kill: the process
# is gone.

# %%
stacks = await lab.up("both")
for blog in stacks.values():
    await blog.post("I am healthy")
    await blog.settle()
    await blog.fault("down", "comments")

# %% [markdown]
# The feed needs posts, and posts is well. First the bus:

# %%
await stacks["async-bus"].feed()

# %% [markdown]
# And now the chain. The post is there, posts would give it to anybody. But:

# %%
from lab.api.blogs import RequestFailed

try:
    said = await stacks["sync-chain"].feed()
except RequestFailed as failure:
    said = failure
said

# %% [markdown]
# One call of three failed, and with it the whole. This is how it looks from inside:

# %%
await stacks["sync-chain"].trace("feed")

# %% [markdown]
# `heal` starts them again, and says what was done to whom.

# %%
for blog in stacks.values():
    await blog.heal()
await stacks.close()

# %% [markdown]
# ## Predict
#
# Now under load, and each in turn: posts, comments, moderation, query, and in the end the bus
# itself. Draw a table on paper first: for each service that is down, can people still read the
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
# A row is a service that is down, and its dark cells are its blast radius.

# %%
run

# %% [markdown]
# The same for the chain as numbers: the share of requests that went well, by who was down.

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
# To show a feed the chain needs query, posts and comments at one moment. Posts takes everything
# with it, because comments asks it, too. Moderation, of which no reader has ever heard, takes away
# the writing of comments. Nobody decided that; it came of one sensible question at a time.
#
# On the bus a row is dark where its own door is. Even without the bus everybody is answered:
# events wait in the outbox of who told them.
#
# The price: a cell that says 100 % says that people were *answered*. While moderation is down,
# comments are taken in and stay pending; while the bus is down, nothing new reaches anybody, and
# the feed looks as healthy as ever. A reader can't tell "nothing new" from "nothing arrives".
# Unfold *All tables* above and look at *visible* in these phases. The chain is at least honest: it
# fails where you can see it.

# %% [markdown]
# ## Exercise 1
#
# The chain's dark cells, all of them: a set of pairs `(who is down, what fails)`, with the
# services' names and `"read_feed"`, `"create_post"`, `"create_comment"`. Leave out the bus, which
# the chain hasn't got. Try it without looking at the picture.

# %%
dark = ...

# %%
checks.dark_cells(dark, run)

# %% [markdown]
# ## Exercise 2
#
# Each service is up 99 times in 100, whatever the others do. How often is there a feed? As
# `{"sync-chain": ..., "async-bus": ...}`, shares from 0 to 1, to three places.

# %%
up = ...

# %%
checks.up_share(up)
