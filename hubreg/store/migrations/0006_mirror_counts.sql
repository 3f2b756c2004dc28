-- What the mirror has done since its beginning; what was sent of a content that was evicted since is in here only.

CREATE TABLE mirror_counts (
    name  TEXT NOT NULL PRIMARY KEY,             -- hits, misses, saved, fetched, evicted, freed
    count INT NOT NULL                           -- contents, or bytes of them
);
INSERT INTO mirror_counts (name, count) SELECT 'misses', COUNT(*) FROM mirror_blobs;
INSERT INTO mirror_counts (name, count) SELECT 'fetched', COALESCE(SUM(size), 0) FROM mirror_blobs;
