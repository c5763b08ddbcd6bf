"""The versioned contract between box and book. It belongs to neither side: see docs/wire.md."""

from packwire.version import __version__

__all__ = ["__version__"]
