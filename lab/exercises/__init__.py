"""Exercises: a small broken piece of the blog, and a check that tries it in a running stack.

`lab exercise start` copies a folder of `start/` to the student; `lab exercise check` puts the
student's file in the place of one program of a real stack, breaks that stack, and looks from
outside at what becomes of it. The student's code runs in a process of its own and has no part in
the verdict.
"""
