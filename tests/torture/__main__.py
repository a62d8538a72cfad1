"""Put a store under load for some minutes: `python -m tests.torture --help`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import FOREIGN_VARIABLES
from tests.torture.drill import torture


def main() -> int:
    """The exit code: 1 if anything is wrong; the store is kept then."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long [%(default)s]")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="what is random follows from it")
    given = parser.parse_args()
    project = Path(tempfile.mkdtemp(prefix="torture-"))
    home = Path(tempfile.mkdtemp(prefix="torture-home-"))
    for name in FOREIGN_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(HOME=str(home), NO_COLOR="1")
    deadline = time.monotonic() + given.minutes * 60
    outcome = torture(project, given.seed, lambda _: time.monotonic() > deadline)
    print(f"seed {given.seed}: {outcome}")
    print(*outcome.faults, sep="\n\n")
    if outcome.faults:
        print(f"the store: {project}")
    return min(len(outcome.faults), 1)


if __name__ == "__main__":
    sys.exit(main())
