"""The blog itself, written once and shared by every arrangement; imports nothing of the lab."""
