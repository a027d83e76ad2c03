"""The `course` engine: a bus in memory that guarantees nothing."""
