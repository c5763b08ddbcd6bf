"""Rigs that the tests of `hil/` run on: an emulated machine, or a real Pi on a bench."""
