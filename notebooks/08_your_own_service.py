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
# # Your own service
#
# **The claim.** Who needs to know what others know, and hears it from the bus, has to ask nobody:
# not for each answer, not for leave to be there, and not for what was said before it came.
#
# You'll put a fifth service beside a blog that runs, kill whom it learnt from, kill the service
# itself, throw its copy away, and see what is left of it each time.

# %%
import asyncio
from pathlib import Path

import pandas as pd
import requests

import checks_own as checks
import lab

# %% [markdown]
# ## A blog with a past
#
# The services tell each other what happens. Nobody here has ever heard of a search.

# %%
stacks = await lab.up("async-bus")
bus = stacks["async-bus"]
for title in ("Why a bus", "Why not simply ask", "What is for lunch"):
    post = await bus.post(title)
    await bus.settle()
    await bus.comment(post, f"No bus ever answered me: {title}?")
await bus.settle()
await bus.events(type="CommentCreated")

# %% [markdown]
# ## The service
#
# A whole one: what it keeps, what a client may ask of it, how it learns what others know. Compare
# it with `lab/async_bus/query.py`, which is built in the same way. Around it stands the lab's own
# shell. That brings HTTP, the database and the hearing: an event is applied in one transaction
# with how far the service has heard, so never twice.

# %%
SEARCH = '''
"""Search: owns nothing; has a copy of all texts, to find words in them.

Asks:  nobody
Tells: nobody
Hears: PostCreated, CommentCreated
"""

from lab.async_bus.stack import BusService, Change, program
from lab.domain.events import CommentCreated, CommentUpdated, PostCreated

SCHEMA = """
CREATE TABLE IF NOT EXISTS texts (
    id   TEXT PRIMARY KEY,
    text TEXT NOT NULL
) WITHOUT ROWID;
"""

service = BusService("search", SCHEMA)

# ── What a client may ask of us ──


@service.get("/search")
def find(word: str) -> list[str]:
    having = "SELECT text FROM texts WHERE instr(lower(text), lower(?)) ORDER BY id"
    return [row["text"] for row in service.store.rows(having, word)]


# ── How we learn what others know ──


@service.on(PostCreated)
def know_post(post: PostCreated, change: Change) -> None:
    change.execute("INSERT INTO texts VALUES (?, ?)", post.id, post.title)


@service.on(CommentCreated)
def know_comment(comment: CommentCreated, change: Change) -> None:
    change.execute("INSERT INTO texts VALUES (?, ?)", comment.id, comment.content)


main = program(service)
'''
file = Path("mine") / "search.py"
file.parent.mkdir(exist_ok=True)
_ = file.write_text(SEARCH)

# %% [markdown]
# ## Predict
#
# There are three posts and three comments, and the word *bus* stands in four of them. How many of
# those will the search find ...
#
# - *added*: when it has just been started, after all of them were written?
# - *comments dead*: while comments is dead, and a post "The last bus" has been written since?
# - *back*: when the search itself has been dead, and a post "The first bus" was written meanwhile?
# - *copy lost*: when it is started once more, and its database has been thrown away?

# %%
mine = {"added": 0, "comments dead": 0, "back": 0, "copy lost": 0}
seen = {}

# %% [markdown]
# ## Look
#
# `add` starts a file as one more program of the blog, and gives its address. No other service was
# changed for it, or started again, or so much as told.

# %%
url = await bus.add(file)
url

# %% [markdown]
# `found` asks it, and asks again for two seconds at the most, for what is told takes a moment.

# %%
web = requests.Session()
web.trust_env = False  # straight to this machine, whatever proxy there is


async def found(word, at_least=1):
    """The texts with that word in them, once there are so many of them."""
    for _ in range(100):
        answer = web.get(f"{url}/search", params={"word": word}, timeout=5)
        answer.raise_for_status()
        texts = answer.json()
        if len(texts) >= at_least:
            break
        await asyncio.sleep(0.02)
    return texts


texts = await found("bus", at_least=4)
seen["added"] = len(texts)
texts

# %% [markdown]
# ## The picture
#
# One comment, followed into every process. There is one more at the end of the way now, and it is
# behind the answer, so whoever writes doesn't wait for it.

# %%
await bus.trace("comment")

# %% [markdown]
# ## Without comments
#
# The service from which it has most of its texts is killed. And somebody writes a post.

# %%
async with bus.fault("down", "comments"):
    await bus.post("The last bus")
    seen["comments dead"] = len(await found("bus", at_least=5))
seen["comments dead"]

# %% [markdown]
# ## Without the search
#
# Now the search is killed. Does the blog miss it? And what does it know of those minutes when it
# is started again?

# %%
async with bus.fault("down", "search"):
    post = await bus.post("The first bus")
    feed = await bus.feed(limit=1)
seen["back"] = len(await found("bus", at_least=6))
feed

# %% [markdown]
# ## Without a copy
#
# And now what would be the end of a database elsewhere: it is deleted, and there is no backup. The
# service is started again with nothing at all, and hears the log from its first event on.

# %%
before = await found("bus")
url = await bus.add(file, empty=True)
after = await found("bus", at_least=6)
seen["copy lost"] = len(after)
f"The same texts as before: {before == after}"

# %% [markdown]
# ## You, and what came out

# %%
pd.DataFrame({"you said": mine, "found": seen})

# %% [markdown]
# ## What you have seen
#
# The search never asked anybody. So it came late and knew everything, it went on without those who
# had told it, and nobody missed it. Its copy needs no backup, because it *is* one: the log holds
# what happened, and the copy is only a way to look at it. Want another way to look? Change the
# file, throw the copy away, and let it listen again. You'll do that now.
#
# The price. All of it hangs on the log: it has to keep everything, for ever, or the next newcomer
# hears half of the story. The names and fields of the events are a contract now with people whom
# nobody knows. And the copy is late, and says nothing about it.
#
# In the chain the same search would have to ask posts and comments for everything, each time it
# is asked itself; or they would have to be changed, to tell it. Then they'd know it, and need it.

# %% [markdown]
# ## Exercise 1
#
# The search has a flaw. What moderation rejects is still found:

# %%
post = await bus.post("Fruit")
await bus.settle()
await bus.comment(post, "An orange a day")
await bus.settle()
await found("orange")

# %% [markdown]
# Mend it: what is rejected must not be found, and all else must. Who says so, in which event? The
# import is there already. Give the whole text of the file, as `SEARCH.replace("...", "...")`, say,
# or as `file.read_text()` when you have mended it in an editor.
#
# The check writes the text into `mine/search.py` and adds that with an empty database. So it has to
# be right about comments of the past, too.

# %%
better = ...

# %%
await checks.rejected_is_not_found(bus, file, better)

# %% [markdown]
# ## Exercise 2
#
# A service of your own, from its first line on: *counts* answers `GET /counts/{post_id}` with
# `{"comments": 3}`, when three comments have been written to that post, whatever became of them;
# and with 0 where there is none. It has to go on while comments is dead. The handler of a path with
# `{post_id}` takes an argument of that name, and may return a dict.

# %%
counts = ...

# %%
await checks.counts_comments(bus, Path("mine") / "counts.py", counts)

# %% [markdown]
# ## The end
#
# This ends the blog, and your services with it. Their files stay in `mine/`.

# %%
await stacks.close()
