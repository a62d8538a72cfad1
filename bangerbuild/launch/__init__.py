"""What starts a VM: the values, and the text of every launch file made of them. Pure; no I/O."""
