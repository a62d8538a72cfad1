"""The files that are written into guests, as pure values: no function here reads or writes a file."""
