"""The blog as services that *ask* each other, and wait for the answer.

Each file here has a twin of the same name in `lab/async_bus/`; read them side by side
(`lab diff comments`). `ask.py` is how a question travels; `stack.py` starts a service.
"""
