"""The lab compared with its peers and with the limits of the machine: `make bench`.

Contains no tests. Every row is the ratio of two things that are measured in turn in the same run: a
slow moment of the machine hits both, so the ratio says more than either figure.
"""
