"""Pure code: numpy and the standard library, no IO, no waiting, no clock."""
