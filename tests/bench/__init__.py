"""The figures the lab promises, measured and printed: `make bench`. Nothing here is a test.

These machines are noisy: what is compared is compared in one run, everything is repeated, and the
median is shown with the range beside it.
"""
