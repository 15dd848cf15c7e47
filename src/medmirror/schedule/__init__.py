"""The scheduler: the time at which each organisation is due, and the process that asks for its syncs."""
