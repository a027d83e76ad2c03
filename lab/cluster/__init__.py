"""The processes of the lab: started together, broken on purpose, never left behind.

Importing this package loads nothing: the nursery, which must be up within milliseconds, lives here.
"""
