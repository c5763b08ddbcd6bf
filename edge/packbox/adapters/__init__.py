"""Everything that waits or breaks: buses, files, the journal, the uplink, keys."""
