"""The real services in one process, under a deterministic scheduler with virtual time."""
