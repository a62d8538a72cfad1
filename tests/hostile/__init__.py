"""Hostile images and guests, through the command line and in process."""
