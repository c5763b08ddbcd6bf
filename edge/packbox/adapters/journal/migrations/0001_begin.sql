-- One life of this file: its random id, whose it is, and what happened to the file before it.
CREATE TABLE store (
    id          TEXT NOT NULL PRIMARY KEY,  -- 16 hex digits
    box         TEXT NOT NULL,              -- 16 hex digits: the box whose key sealed what lies here
    created_ms  INTEGER,                    -- UTC by the wall clock of that moment; NULL: not known
    begun_after TEXT                        -- why an older file was set aside; NULL: there was none
) STRICT;

-- What a restart continues from: one row.
CREATE TABLE state (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    snapshot BLOB NOT NULL
) STRICT;

-- Every sealed record, in the order of the chain. Held by the book: out of the outbox, still history.
CREATE TABLE record (
    seq     INTEGER PRIMARY KEY CHECK (seq > 0),
    kind    INTEGER NOT NULL,
    session INTEGER,
    mono_ms INTEGER NOT NULL,
    wall_ms INTEGER,
    sealed  BLOB NOT NULL,
    held    INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1))
) STRICT;

CREATE INDEX record_waiting ON record (seq) WHERE held = 0;
CREATE INDEX record_kind ON record (kind, seq);
