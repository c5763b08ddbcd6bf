"""What the book needs from outside, as protocols: adapters fill them in production, fakes fill them in tests."""
