"""The processes of the lab: started together, broken on purpose, never left behind.

Importing this package loads nothing: the fork server is part of it and must start within
milliseconds.
"""
