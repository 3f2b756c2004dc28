-- The mirror: upstream Hubs, and what is known of the repos that are theirs. The rest of such a repo is kept like any.

CREATE TABLE upstreams (
    id         ROWID,
    name       TEXT NOT NULL UNIQUE,
    url        TEXT NOT NULL,                    -- no slash at its end
    token      BYTES NOT NULL,                   -- sealed (identity/sealing.py); empty where there is none
    hosts      TEXT NOT NULL DEFAULT '',         -- suffixes of hosts that it may redirect to, beside its own, by spaces
    proxy      TEXT NOT NULL DEFAULT '',
    ca_file    TEXT NOT NULL DEFAULT '',
    active     INT NOT NULL DEFAULT 1,           -- 0: never asked; what came from it stays
    configured INT NOT NULL DEFAULT 0,           -- 1: it is there because of the setting `upstream`
    created_at INT NOT NULL
);

CREATE TABLE mirror_rules (                      -- which repos come from where: mirror/rules.py
    id             ROWID,
    place          INT NOT NULL,                 -- the order in which they are looked at
    type           TEXT NOT NULL DEFAULT '',     -- model, dataset, space; '': all
    pattern        TEXT NOT NULL,                -- of namespace/name, in lower case
    mode           TEXT NOT NULL,                -- mirror, pinned, offline, deny
    upstream_id    INT REFERENCES upstreams (id), -- NULL of those that deny
    ttl            INT NOT NULL,                 -- seconds that a name is not asked for again
    foreign_tokens INT NOT NULL DEFAULT 0        -- 1: a caller may bring the upstream's own token
);

ALTER TABLE repos ADD COLUMN upstream_id INT;    -- whose repo it is; NULL: it is hosted here
ALTER TABLE repos ADD COLUMN upstream_name TEXT NOT NULL DEFAULT '';  -- what it is called there
ALTER TABLE repos ADD COLUMN upstream_state TEXT NOT NULL DEFAULT ''; -- '', gone
CREATE INDEX repos_by_upstream ON repos (upstream_id, type, upstream_name);

CREATE TABLE mirror_names (                      -- what upstream said a revision's name means, and when
    repo_id    INT NOT NULL REFERENCES repos (id),
    name       TEXT NOT NULL,                    -- as asked: main, v1, refs/pr/1, 0123abc
    commit_id  TEXT NOT NULL,
    checked_at INT NOT NULL,
    pinned     INT NOT NULL DEFAULT 0,           -- 1: it is not asked for again, and what it holds is not evicted
    PRIMARY KEY (repo_id, name)
);

CREATE TABLE mirror_commits (                    -- commits that upstream is known to have
    repo_id   INT NOT NULL REFERENCES repos (id),
    commit_id TEXT NOT NULL,
    seen_at   INT NOT NULL,
    PRIMARY KEY (repo_id, commit_id)
);

CREATE TABLE mirror_entries (                    -- single paths of commits whose listing is not here
    repo_id   INT NOT NULL REFERENCES repos (id),
    commit_id TEXT NOT NULL,
    path      TEXT NOT NULL,
    oid       TEXT NOT NULL,                     -- '': nothing is there
    PRIMARY KEY (repo_id, commit_id, path)
);

-- What an upstream says that an oid stands for. It does not go into `files`, which hosted repos rely on: only who has
-- read the bytes knows.
CREATE TABLE mirror_files (
    upstream_id  INT NOT NULL REFERENCES upstreams (id),
    oid          TEXT NOT NULL,
    sha256       TEXT NOT NULL,                  -- '' of a regular file until its content has come
    size         INT NOT NULL,
    lfs          INT NOT NULL,
    pointer_size INT NOT NULL DEFAULT 0,
    PRIMARY KEY (upstream_id, oid)
);

CREATE TABLE mirror_blobs (                      -- content that came from an upstream, verified
    sha256     TEXT NOT NULL PRIMARY KEY,
    size       INT NOT NULL,
    fetched_at INT NOT NULL,
    used_at    INT NOT NULL,                     -- to the hour: what is evicted first
    hits       INT NOT NULL DEFAULT 0            -- how often it was sent since
);
CREATE INDEX mirror_blobs_by_use ON mirror_blobs (used_at);

CREATE TABLE mirror_rights (                     -- who may read a private or gated repo
    repo_id    INT NOT NULL REFERENCES repos (id),
    caller     TEXT NOT NULL,                    -- user:{id}, token:{sha256 of an upstream's token}, anybody
    allowed    INT NOT NULL,
    recorded   INT NOT NULL DEFAULT 0,           -- 1: granted here; 0: as upstream said at checked_at
    checked_at INT NOT NULL,
    PRIMARY KEY (repo_id, caller)
);

CREATE TABLE upstream_tokens (                   -- users' own tokens of an upstream, sealed
    upstream_id INT NOT NULL REFERENCES upstreams (id),
    user_id     INT NOT NULL REFERENCES accounts (id),
    token       BYTES NOT NULL,
    created_at  INT NOT NULL,
    PRIMARY KEY (upstream_id, user_id)
);

CREATE TABLE mirror_claims (                     -- who asks upstream for something, so that no other process does
    name  TEXT NOT NULL PRIMARY KEY,
    until INT NOT NULL
);
