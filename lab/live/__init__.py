"""`lab live`: two architectures under the same continuous load, to be broken before an audience.

panes.py             the two panes: which arrangement runs in each, and how it is drawn
session.py           starts, resets and ends the stacks, the load and the fault controller
fault_controller.py  the fault controller of `lab up`; reports every action to all screens
load_client.py       the connection to the load, which is a separate process
snapshots.py         ten times a second, the state of both panes as one message
commentary.py        a sentence on the current figures, from a table of rules
cards.py             what an outage cost: a card after each heal, and a score
recording.py         every message to the screens, on disk, and then as one page that plays it
replay.py            `lab live --replay FILE`
script.py            a prepared demonstration, step by step
broadcast.py         sends every message to all screens; a slow screen can't delay the lab
blog.py              the blog as its readers see it
phones.py            phones of an audience: readers of one half, one message a second
bets.py              a question to the room, its answers, and which of them holds
audience.py          the routes for an audience
security.py          the checks of a request: token, cookie, origin, host
proxy.py             the console behind a reverse proxy, and started by a Jupyter server
routes.py            the table of routes, each with its access rule
server.py            the HTTP servers of the console and of spectators, and the page's files
app.py               `lab live` as a whole: the order of start and end
terminal.py          the console in a terminal, without a browser
static/              the page
"""
