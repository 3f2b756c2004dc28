-- What a snapshot of a mirrored repo must be like before it is handed out: mirror/policy.py.

CREATE TABLE mirror_policies (
    id      ROWID,
    pattern TEXT NOT NULL,               -- of namespace/name, in lower case
    subject TEXT NOT NULL,               -- publisher, licence, formats, code, size, age
    verdict TEXT NOT NULL,               -- warn, quarantine, deny
    vals    TEXT NOT NULL DEFAULT ''     -- with blanks between them
);

CREATE TABLE mirror_releases (           -- commits that were let out of quarantine
    repo_id   INT NOT NULL REFERENCES repos (id),
    commit_id TEXT NOT NULL,
    at        INT NOT NULL,
    PRIMARY KEY (repo_id, commit_id)
);
