"""Honest fakes that ship with the book."""
