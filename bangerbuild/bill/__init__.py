"""What is installed in an image, by its own databases, as SPDX; and where it comes from. Pure."""
