"""Somebody else's services in the lab, unchanged: started, spoken to, broken, judged.

`mapping` says how the load's three actions are asked for there, `answers` and `shapes`
read what comes back. `sidecar` is the program that stands before each foreign service and has the
lab's door.
"""
