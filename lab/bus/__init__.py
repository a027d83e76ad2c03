"""The event bus: one contract in `base`, a package for each engine, `connect` to choose one."""
