"""squashfs images, version 4: read from the file itself, without a program."""
