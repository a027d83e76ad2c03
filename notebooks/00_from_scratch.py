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
# # From scratch: four steps, and one of them decides
#
# **The claim.** A microservice application is designed in four steps: a service for each resource,
# what each is responsible for, who depends on whom, and what is asked and answered. Three of the
# four come out the same whether services ask or tell. The third one decides what a bad day is
# like.
#
# You'll make the four steps again here, but backwards: not planned, but read off a blog that runs.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

import checks
import lab
from lab.report.tracing import design
from lab.results.dependencies import OF_NEEDS

# %% [markdown]
# ## Step 1: a service for each resource
#
# Posts, comments, verdicts, and the feed that puts them together. Each service owns something, and
# each that has to remember something has a database of its own.

# %%
owners = pd.DataFrame(design.responsibilities("async-bus")).set_index("service")
owners[["owns", "database"]]

# %% [markdown]
# ## Step 2: responsibilities
#
# What does each of them ask, tell and hear? First the blog whose services tell each other ...

# %%
owners[["asks", "tells", "hears"]]

# %% [markdown]
# ... and then the same blog, whose services ask. The columns have changed places.

# %%
pd.DataFrame(design.responsibilities("sync-chain")).set_index("service")[["asks", "tells", "hears"]]

# %% [markdown]
# ## Step 4, before step 3: goals
#
# Which paths, which methods, which data? A comment belongs to a post, so its path begins with one:
# `/posts/{post_id}/comments`. These routes are the same in both blogs; whoever uses the blog can't
# tell which of the two it is.

# %%
pd.DataFrame(design.goals("sync-chain"))[["service", "method", "path", "body", "answer"]]

# %% [markdown]
# ## Step 3: dependencies
#
# These nobody has written down. So both blogs are started, somebody writes a post and a comment
# and reads the feed, and the spans of all processes say who had to do with whom.

# %%
needs = {}
for blog in ("sync-chain", "async-bus"):
    with TemporaryDirectory() as folder:
        needs[blog] = await design.observed_dependencies(blog, Path(folder))

# %% [markdown]
# **Asks** means: without the other there is no answer. **Hears** means: from the other, some time.

# %%
pd.concat({blog: pd.DataFrame(found) for blog, found in needs.items()}).droplevel(1)

# %% [markdown]
# ## Predict
#
# Now let the blog grow, to six services, then to eight. In the chain each new one asks the other
# new ones, on the bus it hears and tells. One of the new ones is killed in the end. Here is what
# you are asked:

# %%
lab.predict("web")

# %% [markdown]
# Put your own answers in the place of these, before you go on. Being wrong is the point of it.

# %%
mine = lab.predict("web", fails="chain-8", lost=0)
mine

# %% [markdown]
# ## Look

# %%
grown = lab.run("web", quick=True, predict=mine)
grown

# %% [markdown]
# ## The picture
#
# The threads between the services, counted in the run, and the pairs that hang together: one of
# the two can't answer without the other.

# %%
pd.DataFrame(
    {one.name: {name: count(one) for name, count in OF_NEEDS.items()} for one in grown.variants}
).T

# %% [markdown]
# ## What you have seen
#
# In the chain, the fifth service brought more threads than the fourth, and the eighth more than
# the fifth, for a new one finds more neighbours to ask. On the bus each brought one. And *hanging*
# says why it matters: a service that posts and comments had never heard of took the feed away.
#
# The bus has its price, and the table shows that too: compare *answered* with *visible*. A copy is
# told later, and now everybody needs the bus. The other notebooks take the bill apart.

# %% [markdown]
# ## Exercise 1
#
# Posts is down. Which of the chain's services can no longer do all of their work? Use step 3, and
# mind that one may ask by way of another. Write a set of names, such as `{"moderation"}`.

# %%
without_posts = ...

# %%
checks.cut_off(without_posts, needs["sync-chain"], "posts")

# %% [markdown]
# ## Exercise 2
#
# A fifth service: *likes*. Who likes a post that isn't there gets a 404, and likes must be able to
# say so while posts is down. Make the four steps for it, on the bus.

# %%
likes = {
    "owns": ...,  # in your own words
    "hears": ...,  # the name of one event
    "tells": ...,  # the name of one new event
    "goal": ...,  # method and path, as "GET /feed"
}

# %%
events = {one.what for one in needs["async-bus"]}
checks.fifth_service(likes, events)
