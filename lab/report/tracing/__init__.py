"""Traces of single requests, and the design of the blog as observed in traces."""
