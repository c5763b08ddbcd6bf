"""How much charge the pack still holds: one method per file, weighed in `weigh`."""
