"""The checks, one file an exercise: what is wanted of it, and how one looks."""
