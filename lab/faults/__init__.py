"""The ways in which a service can be broken, and the door at which most of them act."""
