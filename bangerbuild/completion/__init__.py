"""Completion in shells: what may come next on a command line, answered before the program is loaded.

A script of `shells` hands the words of a command line to `bangerbuild completion answer`. `commands.json`
says what each command takes (`tools/completion.py` makes it of the command line), `names` finds what
manifests and stores hold. They import nothing else of ours but `ranges`, as a shell asks at each tab.
"""
