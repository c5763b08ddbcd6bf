"""Pure code: what a record means for a battery's history. No IO, no waiting, no clock."""
