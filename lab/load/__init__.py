"""The load: who sends what and when, and what came of it.

The pipeline is the file list, in reading order: `plan` (what a run is told), `pacer` (when what is
sent), `pump` (what keeps it on time), `sender` (one arrangement's share of it), `client` and
`connection` (how one request is made), `watcher` (when a write can be seen), `samples` (the raw
rows), `metrics` (figures from the rows), `generator` (the program). Nothing here knows an
arrangement: it sees URLs.
"""
