"""The `log` engine: a durable, ordered, replayable log."""
