"""The host that builds: programs that run on it, the files that a run looks at, and what is held open."""
