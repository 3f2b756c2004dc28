-- What somebody sent who may not write counts in the size of a repo once a branch or a tag has taken it.

ALTER TABLE lfs_objects ADD COLUMN proposed INT NOT NULL DEFAULT 0;
