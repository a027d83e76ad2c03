"""The lab from Python, with the names of the command line; `import lab` brings them.

running.py    lab.run, lab.arun, lab.scenarios, lab.predict, lab.report
result.py     what a run returns: figures, tables, charts, data frames
figures.py    … its figures by name, with their units
standing.py   lab.up: a blog, or both, to be written to and broken
blog.py       … and what can be done to one of them
own.py        … a service of one's own beside it
own_loop.py   why all of it works where a loop runs already
shown.py      how these objects show themselves in a notebook
extras.py     what is only needed sometimes
"""
