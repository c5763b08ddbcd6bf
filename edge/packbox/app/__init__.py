"""One module per command: puts core and adapters together and speaks to the person at the terminal."""
