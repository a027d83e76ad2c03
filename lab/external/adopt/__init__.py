"""A first target file from what is in a folder. It is only read; nothing in it is ever run.

`sources` finds the files, `languages` knows what to look for in them, `programs` how the services
of each are started, `services` puts together what was `found`, `system` says how they belong
together, `writing` writes the file, in which each guess says where it was read.
"""
