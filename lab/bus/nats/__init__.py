"""The `nats` engine: a JetStream stream on one or several nats-servers."""
