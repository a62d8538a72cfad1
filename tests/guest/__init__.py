"""What goes into a guest."""
