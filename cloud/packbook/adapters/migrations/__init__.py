"""Alembic revisions of the book's database, forward only, shipped in the package. Run them with `packbook migrate`."""
