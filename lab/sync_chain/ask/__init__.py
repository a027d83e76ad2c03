"""Transports of a request to another service: HTTP, events, a function call; and fan-out."""
