"""What a service can do so that another one's trouble does not become its own: one idea a file.

Each is a carrier around a carrier, so that they can be put on and left off one by one.
`layers.py` puts them together, and says in which order and why; nothing is on unless asked for.
"""
