"""A result as text and tables in the terminal."""
