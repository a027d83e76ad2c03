"""The load: what is sent and when, and what came of it.

Modules, in reading order: `plan` (the input of a run), `schedule` (what is sent when), `generator`
(the program; it keeps sends on time), `closed_loop` (users that wait for answers), `sender` (one
arrangement's share of the load, with client retries), `visibility` (when a write appears in the
feed), `samples` (the raw rows), `anomalies` (vanishing writes, stale reads), `metrics` (figures
from the rows). `continuous` is a second program, without an end, for live viewing; `live_stats`
has its figures. The load does not know which arrangement it sends to: it knows URLs.
"""
