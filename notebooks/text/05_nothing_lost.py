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
# # Nothing lost
#
# **The claim.** The bus delivers every change to the services that need it. This is true, and not
# enough: a bus that only *passes on* cannot repeat what a service missed. Three things must be
# kept so that nothing is lost: the published events, the events still to publish, and the offset
# of each consumer.
#
# You will lose three posts on a bus like those in most tutorials, and then try the three ideas one
# by one.

# %%
import pandas as pd

import lab
from checks import kept as checks

# %% [markdown]
# ## The bus of most tutorials
#
# An array in memory, and a POST to every subscriber: `lab/bus/course/server.py`. `posts` publishes
# three posts while `query` is down. Then `query` is started again.


# %%
async def written_while_down(target, **switches):
    """Writes three posts while the target is down: the feed and the events afterwards."""
    async with lab.up("async-bus", settings=switches) as stacks:
        bus = stacks["async-bus"]
        async with bus.fault("down", target):
            for number in (1, 2, 3):
                await bus.post(f"Post {number}")
        await bus.settle()
        return await bus.feed(), await bus.events()


feed, published = await written_while_down("query", bus="course")
feed

# %% [markdown]
# Each of the three writers got a 201. `query` is healthy, answers at once, and will never learn of
# these posts. Did the bus forget them?

# %%
published

# %% [markdown]
# The bus has them. But it *passed them on* while `query` was down, and it does not repeat an
# event. `query` does not ask for them either: without numbers, a missing event leaves no visible
# gap.

# %% [markdown]
# ## First idea: keep the published events
#
# The default bus of the lab is a log (`lab/bus/log/server.py`). It numbers each event and writes
# it to disk before it acknowledges; each consumer reads after its own offset. Repeat the
# experiment: how many of the three posts will be in the feed? Decide before you go on.

# %%
feed, published = await written_while_down("query")
feed

# %% [markdown]
# ## Predict
#
# So the bus loses nothing any more. But what if the bus itself is down? First write the row, then
# publish the event: two lines of code, with a moment in between. One variant does exactly this, a
# *dual write*. The other has an *outbox*: row and event are one commit, and a relay publishes the
# event until the bus acknowledges it (`lab/async_bus/outbox.py`).

# %%
lab.predict("dual-write")

# %% [markdown]
# Your turn. *Lost* means gone for good, even at the service that accepted it.

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
# Numbers of writes: acknowledged; lost, so that no service has them; missing from the feed,
# although `posts` or `comments` has them.

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
# ## The second idea, by hand: keep the events to publish
#
# Three posts while the bus is down. Which events does the bus have when it is back?

# %%
feed, published = await written_while_down("event-bus", outbox=False)
published

# %% [markdown]
# None. And with the outbox, which is on by default:

# %%
feed, published = await written_while_down("event-bus")
published

# %% [markdown]
# ## The third idea: keep the offset
#
# The relay publishes an event until the bus acknowledges it. If the acknowledgement gets lost, the
# relay publishes it again; so does every bus that promises to lose nothing. Now `moderation`
# receives every event twice. First it applies every delivery (`dedupe=False`); then it compares
# each event with its *offset*, the number of the last event it applied. How many verdicts does it
# publish for one comment?


# %%
async def verdicts(dedupe):
    """The verdicts that moderation publishes for one comment that it receives twice."""
    async with lab.up("async-bus", settings={"dedupe": dedupe}) as stacks:
        bus = stacks["async-bus"]
        post = await bus.post("Delivered twice")
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
# *Lost* was 0 everywhere. The damage caused no error, no alarm and no red line: every writer got a
# 201, every service was healthy, and each copy lacked another part of the truth.
#
# Each idea closes a gap and makes the next one visible. A log repeats what a consumer missed, but
# only published events. An outbox publishes until the bus acknowledges, and so may publish twice.
# A consumer needs a number to recognise the second delivery. It must store that number *in the
# same transaction* as what it learned, or there is again a moment in between. This is
# at-least-once delivery with an exactly-once effect; exactly-once delivery does not exist.
#
# The price: two writes to disk for each event, and one more table in each service. Events of the
# outage arrived late: look at *visible*. The log must keep everything as long as any consumer may
# come back. And none of the three ideas makes the feed say that it is stale.

# %% [markdown]
# ## Exercise 1
#
# This listener counts comments. It may receive an event twice; it may be killed between any two of
# its lines. Then it starts again, has lost what it did not commit, and receives every event after
# its offset. Rewrite it so that each comment counts once, whatever happens. `db` has `execute(sql,
# values)` and `commit()`, as in sqlite3; the tables `heard` (the offset) and `counted` have one
# row each.


# %%
def count_comment(db, event):
    """Count one more comment: `{"sequence": 7}` is the seventh event of the log."""
    db.execute("UPDATE heard SET sequence = ?", (event["sequence"],))
    db.commit()
    db.execute("UPDATE counted SET comments = comments + 1")
    db.commit()


# %%
checks.counts_once(count_comment)

# %% [markdown]
# ## Exercise 2
#
# Back to the bus of the beginning, which never repeats an event. `query` was down while clients
# wrote a post and two comments. Repair its copy by hand: `await bus.events()` returns all
# published events, the oldest first, and `await deliver("query", event)` delivers one of them to a
# service. Choose the service with care: without numbers, no service recognises a second delivery.


# %%
async def mend(bus, deliver):
    """Deliver the missed events to the service that missed them."""


# %%
await checks.mended(mend)
