"""Measures and prints the figures that the lab promises: `make bench`. Contains no tests.

The machines are noisy: compared figures come from the same run, every measurement is repeated, and
the median is shown with the range.
"""
