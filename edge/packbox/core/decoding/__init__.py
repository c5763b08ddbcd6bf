"""The rooms of `core.decode`: sort frames, sift them, take signals out, follow polls, judge evidence, rank sources."""
