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
# # From scratch: four steps, and one of them decides
#
# **The claim.** The design of a microservice application takes four steps: a service for each
# resource, its responsibilities, the dependencies, the requests and responses. Three of the four
# give the same result whether services ask each other or publish events. The third step decides
# what an outage is like.
#
# Here you do the four steps backwards: you read them off a blog that runs.

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
# Posts, comments, verdicts, and the feed that combines them. Each service that stores something
# has its own database.

# %%
owners = pd.DataFrame(design.responsibilities("async-bus")).set_index("service")
owners[["owns", "database"]]

# %% [markdown]
# ## Step 2: responsibilities
#
# What does each service ask, publish (*tells*) and consume (*hears*)? First the blog on the bus
# ...

# %%
owners[["asks", "tells", "hears"]]

# %% [markdown]
# ... and then the chain. The columns have changed places.

# %%
pd.DataFrame(design.responsibilities("sync-chain")).set_index("service")[["asks", "tells", "hears"]]

# %% [markdown]
# ## Step 4, before step 3: goals
#
# Which paths, which methods, which data? A comment belongs to a post, so its path begins with one:
# `/posts/{post_id}/comments`. These routes are the same in both blogs; a client cannot tell them
# apart.

# %%
pd.DataFrame(design.goals("sync-chain"))[["service", "method", "path", "body", "answer"]]

# %% [markdown]
# ## Step 3: dependencies
#
# These are not written down anywhere. The next cell starts both blogs, writes a post and a
# comment, reads the feed, and collects the spans of all processes. They show which services
# communicated.

# %%
needs = {}
for blog in ("sync-chain", "async-bus"):
    with TemporaryDirectory() as folder:
        needs[blog] = await design.observed_dependencies(blog, Path(folder))

# %% [markdown]
# **Asks**: without the other service there is no response. **Hears**: the service consumes an
# event of the other one, some time later.

# %%
pd.concat({blog: pd.DataFrame(found) for blog, found in needs.items()}).droplevel(1)

# %% [markdown]
# ## Predict
#
# Now the blog grows, to six services, then to eight. In the chain each new service asks the other
# new ones; on the bus it consumes and publishes events. In the end one of the new services is
# killed. The lab asks you:

# %%
lab.predict("web")

# %% [markdown]
# Change these answers before you go on. A wrong prediction teaches more than a right one.

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
# The dependencies between the services, counted in the run. *Hanging* counts the pairs of services
# in which one cannot respond without the other, directly or through others.

# %%
pd.DataFrame(
    {one.name: {name: count(one) for name, count in OF_NEEDS.items()} for one in grown.variants}
).T

# %% [markdown]
# ## What you have seen
#
# In the chain, the fifth service added more dependencies than the fourth, and the eighth more than
# the fifth, because a new service finds more neighbours to ask. On the bus each added one.
# *Hanging* says why this matters: a service that neither `posts` nor `comments` has ever called
# stopped the feed.
#
# The bus has its price, and the table shows it: compare *answered* with *visible*. A copy is
# updated later, and now every service needs the bus. The other notebooks look at this price in
# detail.

# %% [markdown]
# ## Exercise 1
#
# `posts` is down. Which of the chain's services can no longer do all of their work? Use step 3,
# and remember that a service may need `posts` through another one. Write a set of names, such as
# `{"moderation"}`.

# %%
without_posts = ...

# %%
checks.cut_off(without_posts, needs["sync-chain"], "posts")

# %% [markdown]
# ## Exercise 2
#
# A fifth service: `likes`. A like of a post that does not exist gets a 404, and `likes` must be
# able to decide that while `posts` is down. Do the four steps for it, on the bus.

# %%
likes = {
    "owns": ...,  # in your own words
    "hears": ...,  # the name of the event that it consumes
    "tells": ...,  # the name of a new event that it publishes
    "goal": ...,  # method and path, as "GET /feed"
}

# %%
events = {one.what for one in needs["async-bus"]}
checks.fifth_service(likes, events)
