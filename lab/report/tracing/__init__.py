"""Follows one request."""
