"""A fleet of services as a discrete-event model, with parameters that real runs measured."""
