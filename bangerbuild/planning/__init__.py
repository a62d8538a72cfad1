"""From the graph and the store to a plan. Reads the store and this host; writes no artifact."""
