"""Everything that waits or breaks: the broker, the database."""
