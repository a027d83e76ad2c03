"""The parts of every service: HTTP server, store, tracing, deadlines, idempotency."""
