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
# # The price of a copy
#
# **The claim.** A service with a copy can answer without calling another. The price: a copy is
# stale. You cannot see how stale by looking at it; and the first to notice is a client that has
# just written something.

# %%
import asyncio

import pandas as pd

import checks
import lab

# %% [markdown]
# ## One moment, two truths
#
# A client writes a post and reads the feed immediately. Ten times, on each side: how often is the
# post there?

# %%
stacks = await lab.up("both")
found = dict.fromkeys(stacks, 0)
for name, blog in stacks.items():
    for _ in range(10):
        post = await blog.post("Just written")
        feed = await blog.feed()
        found[name] += any(one["id"] == post["id"] for one in feed)
pd.Series(found, name="found at once, of 10")

# %% [markdown]
# ## A stale copy
#
# Events now reach `query` half a second late. The post is written and acknowledged, and `posts`
# has it. `query` answers quickly, and its answer is stale:

# %%
bus = stacks["async-bus"]
async with bus.fault("latency", "query", ms=500):
    post = await bus.post("Where am I?")
    feed = await bus.feed()
    seen_by_reader = [one["title"] for one in feed[:3]]
f"{post['title']!r} was answered after {post.ms:.0f} ms. The newest in the feed: {seen_by_reader}"

# %% [markdown]
# A moment later the same request has another answer. Nothing was repaired meanwhile; the event has
# arrived.

# %%
await bus.settle()
await bus.feed(limit=1)

# %% [markdown]
# ## Predict
#
# Now under load: authors read the feed and comment on their post immediately after writing it. In
# the middle phase, events reach `comments` 100 ms late, on the bus only.

# %%
lab.predict("read-your-writes")

# %%
mine = lab.predict(
    "read-your-writes",
    fails="nobody",
    feed_p50_ms={"sync-chain": 20, "async-bus": 20},
    lost={"sync-chain": 0, "async-bus": 5},
)
mine

# %% [markdown]
# ## Look

# %%
run = lab.run("read-your-writes", quick=True, predict=mine)
run

# %% [markdown]
# ## The picture
#
# The share of authors who found their own post, and of those who could comment on it, in each
# phase.

# %%
pd.DataFrame(
    {
        (kind, name): {phase: run[name].phase(phase)[kind].success for phase in run[name].phases}
        for kind in ("look_at_once", "comment_at_once")
        for name in ("sync-chain", "async-bus")
    }
).round(2)

# %% [markdown]
# ## What you have seen
#
# Here the chain wins easily: it asks the service that owns the data. On the bus a 201 means that
# `posts` has the post and that the other services *will* have it. The event takes a few
# milliseconds in between, or much longer during a fault. A client that acts in between meets a
# service that does not know the post yet. Its 404 is correct, and looks like a bug.
#
# The post was late, not lost: in the end both sides have every acknowledged write. The other
# notebooks show the price of the chain: it gives the current answer only while all services that
# know a part of it are up, and fast.

# %% [markdown]
# ## Exercise 1
#
# The usual remedies are up to the client. The first is to wait: read until the post is there.
# Rewrite this function so that the feed it returns contains the post, even if events reach `query`
# late. The check uses 150 ms, but your code must not rely on a fixed time.


# %%
async def feed_with(blog, post):
    """The feed, with that post in it. `await asyncio.sleep(0.02)` waits for 20 ms."""
    return await blog.feed()


# %%
await checks.read_own(bus, feed_with)

# %% [markdown]
# ## Exercise 2
#
# The second remedy avoids the wait: the page knows the post from the response to its creation, and
# can show it without another request. Rewrite this function so that the own post (`{"id",
# "title"}`) appears in the feed once, in its place: newest first, and ids of newer posts sort
# higher. The feed may contain it already, and then with its comments.


# %%
def merged(feed, mine):
    """The feed with one's own post in it."""
    return feed


# %%
checks.with_mine(merged)

# %% [markdown]
# ## The end

# %%
await stacks.close()
