"""Exercises: a small broken piece of the blog, and a check that tries it in a running stack.

`lab exercise start` copies a folder of `start/` to the student. `lab exercise check` replaces one
program of a real stack by the student's file, injects faults, and observes the stack from outside.
The student's code runs in a separate process and has no part in the verdict.
"""
