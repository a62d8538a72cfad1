"""What goes into a guest, as pure values: no function here reads a file or writes one."""
