"""The box: one car's CAN traffic becomes a signed battery history. See docs/flow.md."""
