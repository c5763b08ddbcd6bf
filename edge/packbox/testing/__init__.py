"""Honest fakes that ship with the box: a simulated car, clock and disk."""
