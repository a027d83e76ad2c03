"""Drafts a target file from the files in a folder. It only reads them, and runs nothing.

`sources` reads the files and holds what was found, `languages` has the patterns to look for,
`detect` finds the services, `system` finds how they belong together, and `write` writes the target
file, in which each guess says where it was read.
"""
