"""External services: the lab starts, calls, breaks and measures them, unchanged.

`target` describes an external system as data. `mapping` describes how the load's three actions
become requests to it, and `responses` decodes what it responds. `wrapper` is the process that
starts a service and ends everything which that service has started. `sidecar` is the process in
front of a service: a proxy with the fault filter (`fault_filter`) and the HTTP adapter (`adapter`).
`programs` assigns the ports and defines the programs, `arrangement` and `stack` turn them into an
arrangement and a stack of the lab. `log_bus` puts the lab's log in place of an external bus.
`translator` connects one external service to the bus of the lab's own stack.
"""
