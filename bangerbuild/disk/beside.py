"""How the files are called that a change of a disk keeps beside it until it has ended."""

REDO_LOG = ".redo"
"""What a patch is about to write, see `redo_log`."""
GROWTH_NOTE = ".grow"
"""The size before a growth, see `growing`."""
GROWTH_UNDO = ".undo"
"""What undoes it."""
ALL = (GROWTH_NOTE, GROWTH_UNDO, REDO_LOG)
"""In the order in which to remove them."""
