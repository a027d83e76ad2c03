"""`lab live`: two architectures under the same steady load, to be broken before an audience.

halves.py      which two run side by side, and what each is drawn as
session.py     starts them, the load and the switches; resets; ends
board.py       the switches: breaks and mends, and tells everybody
load_link.py   the line to the load, which is a process of its own
nodes.py       how each process is: up, busy, behind
hops.py        what went from whom to whom, from the spans
ticks.py       ten times a second, all that was seen, as one message
seen.py        … and a sentence on what that is (picture.py, rules.py)
script.py      a prepared demonstration, step by step
watchers.py    who looks on, none of whom can slow the lab
security.py    who may do what
routes.py      what can be asked for
server.py      where it is asked (static_files.py)
share.py       the door for lookers-on in the same network
blog.py        the blog as its readers see it
live.py        all of it, from the first line to the last
terminal.py    the same without a browser (terminal_keys.py, terminal_view.py)
commands.py    the door on the command line
static/        the page
"""
