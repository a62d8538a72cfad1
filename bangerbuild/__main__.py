"""`python -m bangerbuild`."""

from bangerbuild.cli import main

main()
