"""The lab from Python, with the names of the command line; `import lab` provides them.

run.py          lab.run, lab.arun, lab.scenarios, lab.predict, lab.report
result.py       what a run returns: figures by name, tables, charts, data frames
views.py        lab.show, lab.runs, lab.claims, lab.compare, lab.diff, lab.design, lab.trace
simulate.py     lab.simulate: a scenario in a fleet of any size
search.py       lab.search: the smallest outage that breaks a promise
blogs.py        lab.up: one running stack or both, to write to and to break
trace.py        one request, traced through every process
own_service.py  a student's service, added to a running stack
progress.py     the line below a notebook's cell while a run lasts
tasks.py        how the methods of a running stack execute, with or without `await`
display.py      how these objects display themselves in a notebook
"""
