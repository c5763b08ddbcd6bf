"""Stand-ins for what the book meets outside; shipped, because the demo and other people's tests need them too."""
