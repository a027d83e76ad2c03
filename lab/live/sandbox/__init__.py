"""`lab up`: a blog that runs until Ctrl-C, to send requests to and to break by hand.

session.py           starts the stacks on fixed, memorable ports; parses `--set NAME=VALUE`
fault_controller.py  adds and removes faults on the running stacks, with evidence
control_server.py    the HTTP API of the fault controller and of the dead letters
instances.py         the files through which another terminal finds a running lab
control_client.py    the client of the control server: `lab fault`, `lab heal`
events.py            reads the bus and the dead letters: `lab events`, `lab redrive`
"""
