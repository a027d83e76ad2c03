"""`lab up`, and what breaks and mends a lab that is up: a blog to play with by hand.

up.py              starts the stacks on ports that people can remember, until Ctrl-C
switchboard.py     puts faults on them and takes them back, with proof
control_server.py  the door through which another terminal reaches the switchboard
notes.py           how that terminal finds it
control.py         what that terminal does: `lab fault`, `lab heal`
events.py          … and `lab events`, `lab redrive`
reading.py         … which read a bus of any kind
letters.py         the dead letters of what runs
settings.py        the switches, on a command line
commands.py        the doors to all of it on the command line
"""
