"""The checks, one module per exercise: the criteria, and how each is tested."""
