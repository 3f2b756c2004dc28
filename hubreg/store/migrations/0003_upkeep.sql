-- Work that is done beside the requests, and what the collector goes by.

CREATE TABLE unindexed (                         -- large files that are kept plain and have no Xet hash yet
    sha256   TEXT NOT NULL PRIMARY KEY,
    size     INT NOT NULL,
    tries    INT NOT NULL DEFAULT 0,             -- how often it was begun
    added_at INT NOT NULL
);
INSERT INTO unindexed (sha256, size, added_at)
    SELECT sha256, MAX(size), MIN(created_at) FROM lfs_objects
    WHERE size > 0 AND sha256 NOT IN (SELECT sha256 FROM xet_files) GROUP BY sha256;

CREATE TABLE numbers (                           -- facts about the whole directory
    name  TEXT NOT NULL PRIMARY KEY,             -- xet-epoch
    value INT NOT NULL
);

ALTER TABLE repos ADD COLUMN recount INT NOT NULL DEFAULT 0; -- changes since `storage` was last counted
UPDATE repos SET recount = 1 WHERE storage > 0;
CREATE INDEX repos_to_recount ON repos (id) WHERE recount > 0;

ALTER TABLE objects ADD COLUMN seen_at INT NOT NULL DEFAULT 0; -- when something last came to refer to it, to the day
ALTER TABLE files ADD COLUMN seen_at INT NOT NULL DEFAULT 0;   -- the same
CREATE INDEX files_by_sha256 ON files (sha256);
CREATE INDEX lfs_objects_by_sha256 ON lfs_objects (sha256);
