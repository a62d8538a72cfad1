"""What is installed in an image: read of its own databases of packages, told as SPDX. Pure."""
