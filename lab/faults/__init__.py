"""The kinds of faults, and the fault filter, where most of them act."""
