"""The blog as services that *ask* each other, and wait for the answer.

Each file here has a twin of the same name in `lab/async_bus/`; read them side by side
(`lab diff comments`). `ask/` holds the transports of a request, `resilience/` the
mitigations such as retries and circuit breaker; `stack.py` starts a service.
"""
