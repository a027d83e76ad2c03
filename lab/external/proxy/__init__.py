"""The HTTP proxy in a sidecar: forwards requests and responses between services."""
