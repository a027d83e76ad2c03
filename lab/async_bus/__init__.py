"""The blog as services that *tell* each other what happened, and keep copies.

Each file here has a twin of the same name in `lab/sync_chain/`; read them side by side
(`lab diff comments`). `outbox.py` publishes events and `consumer.py` consumes them; `inbox.py` and
`dead_letters.py` apply them or set them aside; `stack.py` starts a service.
"""
