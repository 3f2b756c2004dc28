-- ROWID, INT and BYTES are replaced per dialect (store/db.py). Times are milliseconds since 1970 UTC, flags are 0 or 1.

CREATE TABLE accounts (
    id                 ROWID,
    public_id          TEXT NOT NULL UNIQUE,     -- 24 hex digits, the Hub's `_id`
    kind               TEXT NOT NULL,            -- user, org
    name               TEXT NOT NULL,            -- as its owner spells it
    key                TEXT NOT NULL UNIQUE,     -- as it is looked up
    fullname           TEXT NOT NULL,
    email              TEXT NOT NULL DEFAULT '',
    admin              INT NOT NULL DEFAULT 0,
    disabled           INT NOT NULL DEFAULT 0,
    private_by_default INT NOT NULL DEFAULT 0,
    created_at         INT NOT NULL
);

CREATE TABLE members (
    org_id  INT NOT NULL REFERENCES accounts (id),
    user_id INT NOT NULL REFERENCES accounts (id),
    role    TEXT NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id);

CREATE TABLE tokens (
    id         ROWID,
    user_id    INT NOT NULL REFERENCES accounts (id),
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,                    -- read, write
    hash       TEXT NOT NULL UNIQUE,             -- sha256 of the token: it is random, so a slow hash would add nothing
    created_at INT NOT NULL,
    revoked_at INT
);
CREATE INDEX tokens_by_user ON tokens (user_id);

CREATE TABLE repos (
    id           ROWID,
    public_id    TEXT NOT NULL UNIQUE,
    type         TEXT NOT NULL,
    namespace_id INT NOT NULL REFERENCES accounts (id),
    name         TEXT NOT NULL,
    creator_id   INT NOT NULL,
    private      INT NOT NULL,
    gated        TEXT NOT NULL DEFAULT '',       -- '', auto, manual
    disabled     INT NOT NULL DEFAULT 0,
    sdk          TEXT NOT NULL DEFAULT '',       -- of a Space
    created_at   INT NOT NULL,
    modified_at  INT NOT NULL,
    head         TEXT NOT NULL DEFAULT '',       -- the commit of main
    storage      INT NOT NULL DEFAULT 0,         -- bytes in large file storage
    likes        INT NOT NULL DEFAULT 0,
    downloads    INT NOT NULL DEFAULT 0,
    pipeline_tag TEXT NOT NULL DEFAULT '',       -- this and the next three are read off the files of main
    library      TEXT NOT NULL DEFAULT '',
    card         TEXT NOT NULL DEFAULT '{}',     -- front matter of README.md, JSON
    config       TEXT NOT NULL DEFAULT '{}'      -- excerpt of config.json, JSON
);
CREATE INDEX repos_by_namespace ON repos (namespace_id, type);
CREATE INDEX repos_by_modified ON repos (type, modified_at);

CREATE TABLE repo_names (                        -- every name that leads to a repo; `moved` ones redirect
    type    TEXT NOT NULL,
    key     TEXT NOT NULL,                       -- namespace/name as looked up
    repo_id INT NOT NULL REFERENCES repos (id),
    moved   INT NOT NULL DEFAULT 0,
    PRIMARY KEY (type, key)
);
CREATE INDEX repo_names_by_repo ON repo_names (repo_id);

CREATE TABLE repo_tags (
    repo_id INT NOT NULL REFERENCES repos (id),
    tag     TEXT NOT NULL,
    place   INT NOT NULL,                        -- the order in which they are shown
    PRIMARY KEY (repo_id, tag)
);
CREATE INDEX repo_tags_by_tag ON repo_tags (tag);

CREATE TABLE refs (
    repo_id    INT NOT NULL REFERENCES repos (id),
    name       TEXT NOT NULL,                    -- refs/heads/main, refs/tags/v1, refs/pr/1
    commit_id  TEXT NOT NULL,
    tag        TEXT,                             -- the annotated tag that leads to the commit, where one was pushed
    updated_at INT NOT NULL,
    PRIMARY KEY (repo_id, name)
);

CREATE TABLE commits (
    repo_id INT NOT NULL REFERENCES repos (id),
    id      TEXT NOT NULL,
    tree    TEXT NOT NULL,
    parent  TEXT,                                -- the first one; NULL for a root
    depth   INT NOT NULL,                        -- commits from here to the root, this one counted
    title   TEXT NOT NULL,
    message TEXT NOT NULL,                       -- what follows the title
    author  TEXT NOT NULL,
    at      INT NOT NULL,
    PRIMARY KEY (repo_id, id)
);

CREATE TABLE objects (                           -- git trees and commits; blobs are kept by sha256 in the blob store
    oid  TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    data BYTES NOT NULL
);

CREATE TABLE files (                             -- what a tree entry's oid stands for
    oid          TEXT NOT NULL PRIMARY KEY,
    sha256       TEXT NOT NULL,
    size         INT NOT NULL,
    lfs          INT NOT NULL,                   -- 1: the oid is that of an LFS pointer
    pointer_size INT NOT NULL DEFAULT 0
);

CREATE TABLE last_commits (                      -- per directory that a commit changed: formats/lastcommits.py
    repo_id   INT NOT NULL REFERENCES repos (id),
    commit_id TEXT NOT NULL,
    path      TEXT NOT NULL,
    data      BYTES NOT NULL,
    PRIMARY KEY (repo_id, commit_id, path)
);

CREATE TABLE lfs_objects (                       -- which large files a repo holds: knowing a sha256 is no right to it
    repo_id    INT NOT NULL REFERENCES repos (id),
    sha256     TEXT NOT NULL,
    size       INT NOT NULL,
    created_at INT NOT NULL,
    PRIMARY KEY (repo_id, sha256)
);

CREATE TABLE uploads (                           -- multipart uploads under way
    id         TEXT NOT NULL PRIMARY KEY,
    repo_id    INT NOT NULL,                     -- of a repo that may be gone by now
    user_id    INT NOT NULL,                     -- who began it; nobody else writes into it
    sha256     TEXT NOT NULL,
    size       INT NOT NULL,
    part_size  INT NOT NULL,
    created_at INT NOT NULL
);
CREATE INDEX uploads_by_repo ON uploads (repo_id, sha256);

CREATE TABLE upload_parts (
    upload_id TEXT NOT NULL REFERENCES uploads (id),
    number    INT NOT NULL,                      -- from 1
    etag      TEXT NOT NULL,
    PRIMARY KEY (upload_id, number)
);

CREATE TABLE discussions (
    repo_id    INT NOT NULL REFERENCES repos (id),
    num        INT NOT NULL,
    title      TEXT NOT NULL,
    author_id  INT NOT NULL,
    pull       INT NOT NULL,                     -- 1: a pull request, its content at refs/pr/{num}
    status     TEXT NOT NULL,                    -- draft, open, closed, merged
    base       TEXT NOT NULL DEFAULT '',         -- the branch it is to be merged into, refs/heads/...
    merged     TEXT NOT NULL DEFAULT '',         -- the commit that merging made
    created_at INT NOT NULL,
    PRIMARY KEY (repo_id, num)
);

CREATE TABLE discussion_events (
    id        ROWID,
    public_id TEXT NOT NULL UNIQUE,
    repo_id   INT NOT NULL,
    num       INT NOT NULL,
    kind      TEXT NOT NULL,                     -- comment, status-change, commit, title-change
    author_id INT NOT NULL,
    at        INT NOT NULL,
    data      TEXT NOT NULL
);
CREATE INDEX discussion_events_by_discussion ON discussion_events (repo_id, num, id);

CREATE TABLE log (                               -- the hash chain: formats/chain.py
    serial   INT NOT NULL PRIMARY KEY,
    body     BYTES NOT NULL,
    previous TEXT NOT NULL,
    digest   TEXT NOT NULL
);
