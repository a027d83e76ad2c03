"""Small programs that the tests start as separate processes."""
