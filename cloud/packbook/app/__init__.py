"""One module per command: puts core, adapters and web together."""
