"""What the manifest's sources stand for: the lock file, and the rules that decide which answer counts."""
