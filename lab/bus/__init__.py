"""The event bus: one short contract, one file an engine, `open.py` to choose."""
