"""`python -m bangerbuild`."""

from bangerbuild.entry import main

main()
