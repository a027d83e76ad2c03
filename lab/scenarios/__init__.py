"""Scenarios: which faults act when, and what must be observed if the course's claims are true."""
