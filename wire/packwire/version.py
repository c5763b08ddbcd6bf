"""The one version number of box, wire and book."""

__version__ = "0.1.0"
