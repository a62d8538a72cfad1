"""The tests; each one's name is its sentence."""
