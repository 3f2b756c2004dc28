-- Xet: content as ranges of chunks of xorbs. Hashes are written in Xet's string form (formats/chunking.py).

CREATE TABLE xorbs (
    hash         TEXT NOT NULL PRIMARY KEY,
    tag          TEXT NOT NULL,                  -- the end of its file's name; tells one from another that had its hash before
    size         INT NOT NULL,                   -- bytes, serialized
    unpacked     INT NOT NULL,                   -- bytes of content
    chunks       BYTES NOT NULL,                 -- what is in it: formats/xorb.py, ChunkIndex
    plain_sha256 TEXT,                           -- of a virtual one: the blob whose bytes its chunks are, one after the other,
    plain_offset INT NOT NULL DEFAULT 0,         -- and where in the blob the first one begins
    created_at   INT NOT NULL,
    offered_at   INT NOT NULL                    -- when a client last sent it or was told of it, to the day; 0: never
);
CREATE INDEX xorbs_by_plain ON xorbs (plain_sha256);

CREATE TABLE xet_files (                         -- only files whose content was hashed: what is claimed is not kept
    hash       TEXT NOT NULL PRIMARY KEY,
    sha256     TEXT NOT NULL,                    -- several may have one: clients do not all cut alike
    size       INT NOT NULL,
    terms      BYTES NOT NULL,                   -- formats/terms.py
    created_at INT NOT NULL
);
CREATE INDEX xet_files_by_sha256 ON xet_files (sha256);

CREATE TABLE xorb_uses (                         -- which files are made of which xorbs
    file  TEXT NOT NULL REFERENCES xet_files (hash),
    xorb  TEXT NOT NULL REFERENCES xorbs (hash),
    place INT NOT NULL,                          -- of its first term in the file
    PRIMARY KEY (file, xorb)
);
CREATE INDEX xorb_uses_by_xorb ON xorb_uses (xorb);

CREATE TABLE xet_chunks (                        -- chunks that clients may ask for by name, and a xorb that has each
    hash TEXT NOT NULL PRIMARY KEY,
    xorb TEXT NOT NULL REFERENCES xorbs (hash)
);
CREATE INDEX xet_chunks_by_xorb ON xet_chunks (xorb);
