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
# # The price of a copy
#
# **The claim.** Who has a copy needs nobody to answer. What isn't said as often: a copy is old.
# How old, nobody can tell by looking at it; and the first to notice is the one who has just
# written something.

# %%
import asyncio

import pandas as pd

import checks
import lab

# %% [markdown]
# ## One moment, two truths
#
# Somebody writes a post and reads the feed in the very next moment. Ten times, on each side: how
# often is the post there?

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
# ## The copy, caught being old
#
# Let events enter query half a second late. The post is written, it is acknowledged, posts has it.
# Query answers quickly, and is wrong:

# %%
bus = stacks["async-bus"]
async with bus.fault("latency", "query", ms=500):
    post = await bus.post("Where am I?")
    feed = await bus.feed()
    seen_by_reader = [one["title"] for one in feed[:3]]
f"{post['title']!r} was answered after {post.ms:.0f} ms. The newest in the feed: {seen_by_reader}"

# %% [markdown]
# A moment later the same question has another answer. Nothing was repaired meanwhile; the news has
# arrived.

# %%
await bus.settle()
await bus.feed(limit=1)

# %% [markdown]
# ## Predict
#
# Under load now: authors who comment on what they have just written, and look for it, at once. In
# the middle phase comments hears 100 ms late, on the bus only.

# %%
lab.predict("read-your-writes")

# %%
mine = lab.predict(
    "read-your-writes",
    fails="nobody",
    feed_p99_ms={"sync-chain": 20, "async-bus": 20},
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
# Here the chain wins, and it wins without trying: it asks the one who knows. On the bus a 201 says
# that posts knows the post and that the others *will*. Between the two lies the way of the news, a
# few milliseconds on a calm day and as long as you like on a bad one. Whoever acts in between
# meets a service that has never heard of what they have just written, and the 404 it gives them is
# honest and reads like a bug.
#
# It was late and not lost: in the end both sides hold all they acknowledged. And the other column
# of the bill is in the other notebooks: the chain's truth is to be had only while everybody who
# knows a part of it is up, and quick.

# %% [markdown]
# ## Exercise 1
#
# The usual ways out are the client's work. The first is to wait: ask until it is there. Rewrite
# this so that the feed it returns has the post in it, also where query hears late: in the check by
# 150 ms, and give up the thought that you know by how much.


# %%
async def feed_with(blog, post):
    """The feed, with that post in it. `await asyncio.sleep(0.02)` waits for 20 ms."""
    return await blog.feed()


# %%
await checks.read_own(bus, feed_with)

# %% [markdown]
# ## Exercise 2
#
# The second way is not to wait: the page knows the post, from the answer to its writing. It can
# show it without anybody's help. Rewrite this so that one's own post (`{"id", "title"}`) stands in
# the feed once, at its place: newest first, and ids of newer posts sort higher. Mind that the feed
# may know it already, and then with its comments.


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
