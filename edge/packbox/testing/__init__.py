"""Honest fakes that ship with the box: a bus in memory, a clock, a disk."""
