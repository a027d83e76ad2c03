"""The blog as services that *tell* each other, and keep copies of what they heard.

Each file here has a twin of the same name in `lab/sync_chain/`; read them side by side
(`lab diff comments`). `tell.py` and `hear.py` are how news travels, `apply.py` and
`dead_letters.py` what becomes of it on arrival, `alarms.py` what should never be; `stack.py` starts
a service.
"""
