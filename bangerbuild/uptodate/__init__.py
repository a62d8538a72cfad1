"""The up-to-date check: whether `apply` has nothing to do, answered before the rest of the program is loaded.

A run that leaves nothing to do writes a record of all that its plan depended on. The next `apply` with the
same command line compares that record with the host and the store in one pass of stats. If anything differs,
if there is no record, or if the command line is not a plain one, a plan is made as usual.

`check`, `command` and `record` give the answer. They import nothing else of ours but `host.remembered`, and
nothing of the standard library that a fresh interpreter has not loaded: each such module costs more than all
the stats of a VM. `basis`, `artifacts` and `programs` write the record. Host files are not listed here: the
functions that read them note them in `bangerbuild/host/observed.py`.
"""
