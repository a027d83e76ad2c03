"""Somebody else's services in the lab, unchanged: started, spoken to, broken, judged.

`target` says what they are, `mapping` how the load's three actions are asked for there, `answers`
and `shapes` read what comes back. `keeper` is the program that starts a service and ends all that
it has started, `sidecar` the one that stands before it and has the lab's door. `placing` gives both
their ports, `parts` makes them programs, `stack` a stack of the lab. `bridge` is the lab's log in
the place of their bus; `replaced` is the lab's own stack with one of theirs in it, and `crossing`
what stands between that one and the bus.
"""
