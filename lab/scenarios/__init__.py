"""Scenarios: what is broken, when, and what must be seen if what the course teaches is true."""
