"""The load: who sends what and when, and what came of it.

The pipeline is the file list, in reading order: `plan` (what a run is told), `pacer` (when what is
sent), `pump` (what keeps it on time), `closed` (the loop that waits), `sender` (one arrangement's
share of it), `again` (who sends a write a second time), `client` and `connection` (how one request
is made), `watcher` (when a write can be seen), `samples` (the raw rows), `stale` (which feeds were
old), `metrics` (figures from the rows), `generator` (the program). For those who watch there is
another program, without an end: `steady` (`steady_plan`, `steady_sender`, `lately`). Nothing here
knows an arrangement: it sees URLs.
"""
