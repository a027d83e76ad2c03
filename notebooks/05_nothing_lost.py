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
# # Nothing lost
#
# **The claim.** What a change in one service means for another travels by the bus. That is true,
# and it isn't enough: a bus that only *passes on* has forgotten what it said when you come back.
# Three things have to be kept before nothing is lost: what was told, what is still to be told, and
# how far each has heard.
#
# You'll lose three posts on the bus that everybody writes first, and then take the three ideas one
# by one.

# %%
import pandas as pd

import checks_kept as checks
import lab

# %% [markdown]
# ## The bus that everybody writes first
#
# An array in memory, and a POST to everybody who listens: `lab/bus/course/server.py`. Posts tells
# it of three posts, while query is dead. Then query is started again.


# %%
async def written_while_down(target, **switches):
    """Three posts, written while the target is dead: the feed and the bus, when all is well."""
    async with lab.up("async-bus", settings=switches) as stacks:
        bus = stacks["async-bus"]
        async with bus.fault("down", target):
            for number in (1, 2, 3):
                await bus.post(f"Post {number}")
        await bus.settle()
        return await bus.feed(), await bus.events()


feed, told = await written_while_down("query", bus="course")
feed

# %% [markdown]
# Each of the three writers had a 201. Query is well, it answers at once, and it will never know of
# these posts. Is it because the bus forgot them?

# %%
told

# %% [markdown]
# They are right there. But they were *passed on* when query was away, and nobody says a thing
# twice. Nor does query ask: an event without a number leaves no gap that one could notice.

# %% [markdown]
# ## First idea: keep what was told
#
# The default bus here is a log (`lab/bus/log/server.py`). It numbers each event, has it on the disk
# before it says OK, and whoever listens reads on from where they were. The same mishap. How many of
# the three will be in the feed? Say it before you go on.

# %%
feed, told = await written_while_down("query")
feed

# %% [markdown]
# ## Predict
#
# So nothing can be lost on the bus any more. But what if the bus itself is dead? First write the
# row, then tell the bus: two lines of code, and in between there is a moment. One side has it like
# that, a *dual write*. The other has an *outbox*: row and event are one commit, and a relay tells
# the event until the bus has taken it (`lab/async_bus/outbox.py`).

# %%
lab.predict("dual-write")

# %% [markdown]
# Your turn. Mind the word *lost*: gone for good, also where it was written.

# %%
mine = lab.predict("dual-write", fails="nobody", lost={"async-bus": 0, "dual-write": 20})
mine

# %% [markdown]
# ## Look

# %%
run = lab.run("dual-write", quick=True, predict=mine)
run

# %% [markdown]
# ## The picture
#
# What became of the writes, in numbers of writes: acknowledged; lost, so that nobody has it; and
# missing from the feed, though posts or comments has it.

# %%
pd.DataFrame(
    {
        one.name: {
            "acknowledged": one.data.acknowledged,
            "lost": one.data.lost,
            "missing from the feed": one.data.unsettled,
        }
        for one in run.variants
    }
).T

# %% [markdown]
# ## The second idea, by hand
#
# Three posts while the bus is dead. What stands on the bus when it is back?

# %%
feed, told = await written_while_down("event-bus", outbox=False)
told

# %% [markdown]
# Nothing. And with the outbox, which is on unless you turn it off:

# %%
feed, told = await written_while_down("event-bus")
told

# %% [markdown]
# ## The third idea: keep how far you have heard
#
# The relay tells an event until the bus has said OK. If the OK gets lost, it tells it again; so
# does every bus that promises to lose nothing. Now moderation hears everything twice. Once it
# believes what it hears (`dedupe=False`), and once it holds each event against its *offset*, the
# number of the last one it has applied. How many verdicts are told of one comment?


# %%
async def verdicts(dedupe):
    """What moderation told of one comment, of which it was told twice."""
    async with lab.up("async-bus", settings={"dedupe": dedupe}) as stacks:
        bus = stacks["async-bus"]
        post = await bus.post("Said twice")
        await bus.settle()
        async with bus.fault("duplicate", "moderation"):
            await bus.comment(post, "Once is enough")
            await bus.settle()
        return await bus.events(type="CommentModerated")


await verdicts(dedupe=False)

# %%
await verdicts(dedupe=True)

# %% [markdown]
# ## What you have seen
#
# *Lost* was 0 everywhere. What went wrong had no error, no alarm and no red line: every writer had
# a 201, every service was well, and the copies lacked a part of the truth, each another one.
#
# Each idea closes a gap, and makes the next one visible. A log says again what somebody missed, but
# only what it was told. An outbox tells it until it is taken, and so it may tell it twice. And who
# hears it twice needs a number to see it. The number has to be kept *in the same transaction* as
# what was learnt, or there is again a moment in between. That is at-least-once delivery with an
# exactly-once effect; exactly-once delivery is not for sale.
#
# The price: a write to the disk for each event, twice, and a table more in each service. What was
# told during the outage came late: look at *visible*. The log has to keep everything as long as
# anybody may come back. And one thing none of the three can do: make the feed say that it is
# behind.

# %% [markdown]
# ## Exercise 1
#
# This listener counts comments. It hears each event twice now and then; it may be killed between
# any two of its lines, and then it is started again and told everything behind its offset. What was
# not committed is gone then. Rewrite it so that each comment counts once, whatever happens. `db`
# has `execute(sql, values)` and `commit()`, of sqlite3; `heard` and `counted` have one row each.


# %%
def count_comment(db, event):
    """One more comment: `{"sequence": 7}`, the seventh event of the log."""
    db.execute("UPDATE heard SET sequence = ?", (event["sequence"],))
    db.commit()
    db.execute("UPDATE counted SET comments = comments + 1")
    db.commit()


# %%
checks.counts_once(count_comment)

# %% [markdown]
# ## Exercise 2
#
# Back to the bus of the beginning, which keeps an array and says nothing twice. Query was away
# while a post and two comments were written. Mend its copy by hand: `await bus.events()` has all
# that was told, the oldest first, and `await deliver("query", event)` brings one of them to a
# service. Mind to whom you bring what: nobody here has a number to hold it against.


# %%
async def mend(bus, deliver):
    """Bring what was missed to those who missed it."""


# %%
await checks.mended(mend)
