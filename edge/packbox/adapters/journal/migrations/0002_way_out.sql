-- A store that the book's history contradicts must not go on: why; NULL while all is well.
ALTER TABLE store ADD COLUMN over TEXT;

-- Whether the snapshot is packed (zstd): most of it are the frames of an unfinished second, and cards wear by bytes.
ALTER TABLE state ADD COLUMN packed INTEGER NOT NULL DEFAULT 0 CHECK (packed IN (0, 1));
