"""Mitigations that keep the failure of one service from spreading to its callers, one per file.

Each one is a transport that wraps a transport, so each can be switched on separately. `layers.py`
combines them and explains their order. All are off by default.
"""
