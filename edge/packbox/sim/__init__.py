"""A simulated car: its pack, its driver, its frames, the units that answer. The demo and the bench live on it."""
