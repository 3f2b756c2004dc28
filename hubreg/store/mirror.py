"""
Rows of the mirror: upstreams and rules, what upstream said of names, commits, paths and files, and who may read what.

`Upstream` is what talks to one. Its token is kept sealed: whoever reads these rows opens it (`identity.sealing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hubreg.model import CommitId, Millis, Oid, Sha256
from hubreg.store.db import Database, Reader, Row, Tx, marks
from hubreg.store.objects import File

_BATCH = 1000  # values in one statement
_HOUR = 3600 * 1000  # milliseconds


@dataclass(frozen=True, slots=True)
class Upstream:
    """
    A Hub that repos come from. `url` begins every URL there and ends in no slash. `token` is the server's own there,
    "" for none: it goes to that host only and is never shown. `hosts` are suffixes of the hosts that it may redirect
    to beside its own, `cdn.example.org` or `.example.org`. `proxy` and `ca_file` are "" for none.
    """

    id: int
    name: str
    url: str
    token: str = field(default="", repr=False)
    hosts: tuple[str, ...] = ()
    proxy: str = ""
    ca_file: str = ""
    active: bool = True
    configured: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    """What a revision's name meant at `checked_at`. `pinned`: for good."""

    commit: CommitId
    checked_at: Millis
    pinned: bool


@dataclass(frozen=True, slots=True)
class Right:
    """Whether a caller may read a repo: as upstream said at `checked_at`, or as it is `recorded` here."""

    allowed: bool
    recorded: bool
    checked_at: Millis


# upstreams

_UPSTREAM = "id, name, url, hosts, proxy, ca_file, active, configured, token"


async def upstreams(reader: Reader) -> list[tuple[Upstream, bytes]]:
    """All, in the order in which they were added, each with its sealed token."""
    rows = await reader.all(f"SELECT {_UPSTREAM} FROM upstreams ORDER BY id")  # noqa: S608 our own columns
    return [_upstream(row) for row in rows]


def _upstream(row: Row) -> tuple[Upstream, bytes]:
    id_, name, url, hosts, proxy, ca_file, active, configured, sealed = row
    made = Upstream(id_, name, url, "", tuple(hosts.split()), proxy, ca_file, bool(active), bool(configured))
    return made, sealed


async def put_upstream(tx: Tx, upstream: Upstream, sealed: bytes) -> int:
    """A new one, or other settings of the one of that name; its id."""
    row = await tx.one(
        "INSERT INTO upstreams (name, url, token, hosts, proxy, ca_file, active, configured, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET url = excluded.url,"
        " token = excluded.token, hosts = excluded.hosts, proxy = excluded.proxy, ca_file = excluded.ca_file,"
        " active = excluded.active, configured = excluded.configured RETURNING id",
        upstream.name, upstream.url, sealed, " ".join(upstream.hosts), upstream.proxy, upstream.ca_file,
        int(upstream.active), int(upstream.configured), tx.now,
    )  # fmt: skip
    return int(row[0]) if row else 0


async def set_active(tx: Tx, upstream_id: int, *, active: bool) -> None:
    await tx.run("UPDATE upstreams SET active = ? WHERE id = ?", int(active), upstream_id)


async def holds_repos(reader: Reader, upstream_id: int) -> bool:
    """Whether any repo came from there."""
    return await reader.one("SELECT 1 FROM repos WHERE upstream_id = ? LIMIT 1", upstream_id) is not None


async def delete_upstream(tx: Tx, upstream_id: int) -> None:
    """One that no repo came from, with its rules and tokens."""
    for table in ("mirror_rules", "mirror_files", "upstream_tokens"):
        await tx.run(f"DELETE FROM {table} WHERE upstream_id = ?", upstream_id)  # noqa: S608 our own tables
    await tx.run("DELETE FROM upstreams WHERE id = ?", upstream_id)


# rules


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule as it is kept: `mirror.rules` says what it means."""

    id: int
    type: str
    pattern: str
    mode: str
    upstream_id: int | None
    ttl: int
    foreign_tokens: int  # 0 or 1


async def rules(reader: Reader) -> list[RuleRow]:
    rows = await reader.all(
        "SELECT id, type, pattern, mode, upstream_id, ttl, foreign_tokens FROM mirror_rules ORDER BY place, id"
    )
    return [RuleRow(*row) for row in rows]


async def add_rule(tx: Tx, rule: RuleRow, *, first: bool = False) -> int:
    """Behind all that there are, or before them; its id."""
    row = await tx.one("SELECT COALESCE(MIN(place), 0), COALESCE(MAX(place), 0) FROM mirror_rules")
    least, most = row or (0, 0)
    made = await tx.one(
        "INSERT INTO mirror_rules (place, type, pattern, mode, upstream_id, ttl, foreign_tokens)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        least - 1 if first else most + 1, rule.type, rule.pattern, rule.mode, rule.upstream_id, rule.ttl,
        rule.foreign_tokens,
    )  # fmt: skip
    return int(made[0]) if made else 0


async def delete_rule(tx: Tx, rule_id: int) -> bool:
    return await tx.run("DELETE FROM mirror_rules WHERE id = ?", rule_id) == 1


# policies


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A policy as it is kept: `mirror.policy` says what it means."""

    id: int
    pattern: str
    subject: str
    verdict: str
    values: str


async def policies(reader: Reader) -> list[PolicyRow]:
    rows = await reader.all("SELECT id, pattern, subject, verdict, vals FROM mirror_policies ORDER BY id")
    return [PolicyRow(*row) for row in rows]


async def add_policy(tx: Tx, policy: PolicyRow) -> int:
    """Its id."""
    made = await tx.one(
        "INSERT INTO mirror_policies (pattern, subject, verdict, vals) VALUES (?, ?, ?, ?) RETURNING id",
        policy.pattern, policy.subject, policy.verdict, policy.values,
    )  # fmt: skip
    return int(made[0]) if made else 0


async def delete_policy(tx: Tx, policy_id: int) -> bool:
    return await tx.run("DELETE FROM mirror_policies WHERE id = ?", policy_id) == 1


async def let_out(tx: Tx, repo_id: int, commit: CommitId) -> None:
    """Let a commit out of quarantine."""
    await tx.run(
        "INSERT INTO mirror_releases (repo_id, commit_id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        repo_id, commit, tx.now,
    )  # fmt: skip


async def is_released(reader: Reader, repo_id: int, commit: CommitId) -> bool:
    row = await reader.one(
        "SELECT 1 FROM mirror_releases WHERE repo_id = ? AND commit_id = ?", repo_id, commit
    )
    return row is not None


async def listed_commits(reader: Reader, repo_id: int) -> list[CommitId]:
    """The commits of a mirrored repo whose listings are here."""
    return [
        row[0]
        for row in await reader.all("SELECT id FROM commits WHERE repo_id = ? ORDER BY at, id", repo_id)
    ]


# repos


@dataclass(frozen=True, slots=True)
class Described:
    """What upstream says of a repo, beside what `repos.Facts` has."""

    private: bool
    gated: str  # "", "auto" or "manual"
    disabled: bool
    sdk: str
    created_at: Millis
    modified_at: Millis
    likes: int
    downloads: int


async def bind(tx: Tx, repo_id: int, upstream_id: int, name: str) -> None:
    """The repo is an upstream's, where it is called `name`, from now on and for good."""
    await tx.run(
        "UPDATE repos SET upstream_id = ?, upstream_name = ? WHERE id = ?", upstream_id, name, repo_id
    )


async def find_repo(reader: Reader, upstream_id: int, type_: str, name: str) -> int | None:
    """The repo that an upstream calls so, in that spelling."""
    row = await reader.one(
        "SELECT id FROM repos WHERE upstream_id = ? AND type = ? AND upstream_name = ?",
        upstream_id, type_, name,
    )  # fmt: skip
    return row[0] if row else None


async def describe(tx: Tx, repo_id: int, said: Described) -> None:
    """What upstream says now; it is there, so it is not gone."""
    await tx.run(
        "UPDATE repos SET private = ?, gated = ?, disabled = ?, sdk = ?, created_at = ?, modified_at = ?, likes = ?,"
        " downloads = ?, upstream_state = '' WHERE id = ?",
        int(said.private), said.gated, int(said.disabled), said.sdk, said.created_at, said.modified_at, said.likes,
        said.downloads, repo_id,
    )  # fmt: skip


async def set_state(tx: Tx, repo_id: int, state: str) -> None:
    await tx.run("UPDATE repos SET upstream_state = ? WHERE id = ?", state, repo_id)


async def add_alias(tx: Tx, type_: str, key: str, repo_id: int) -> None:
    """Another name that leads to the repo; one that leads somewhere already stays."""
    await tx.run(
        "INSERT INTO repo_names (type, key, repo_id, moved) VALUES (?, ?, ?, 1) ON CONFLICT (type, key) DO NOTHING",
        type_, key, repo_id,
    )  # fmt: skip


# what names mean


async def find_name(reader: Reader, repo_id: int, name: str) -> Name | None:
    row = await reader.one(
        "SELECT commit_id, checked_at, pinned FROM mirror_names WHERE repo_id = ? AND name = ?", repo_id, name
    )
    return Name(row[0], row[1], bool(row[2])) if row else None


async def put_name(tx: Tx, repo_id: int, name: str, commit: CommitId) -> None:
    """What upstream says now. One that is pinned stays where it is."""
    await tx.run(
        "INSERT INTO mirror_names (repo_id, name, commit_id, checked_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repo_id, name) DO UPDATE SET commit_id = excluded.commit_id,"
        " checked_at = excluded.checked_at WHERE mirror_names.pinned = 0",
        repo_id, name, commit, tx.now,
    )  # fmt: skip


async def pin_name(tx: Tx, repo_id: int, name: str, *, pinned: bool) -> bool:
    """False where the name has not been asked for yet."""
    changed = await tx.run(
        "UPDATE mirror_names SET pinned = ? WHERE repo_id = ? AND name = ?", int(pinned), repo_id, name
    )
    return changed == 1


async def drop_name(tx: Tx, repo_id: int, name: str) -> None:
    """Upstream has no such name any more. One that is pinned stays."""
    await tx.run("DELETE FROM mirror_names WHERE repo_id = ? AND name = ? AND pinned = 0", repo_id, name)


async def pins(reader: Reader) -> list[tuple[int, str, CommitId]]:
    """Every pinned name: repo, name, commit."""
    return await reader.all(
        "SELECT repo_id, name, commit_id FROM mirror_names WHERE pinned = 1 ORDER BY repo_id, name"
    )


async def checked_at(reader: Reader, repo_id: int) -> Millis | None:
    """When upstream was last heard about any name of a repo."""
    row = await reader.one("SELECT MAX(checked_at) FROM mirror_names WHERE repo_id = ?", repo_id)
    return row[0] if row else None


async def put_refs(
    tx: Tx, repo_id: int, refs: Sequence[tuple[str, CommitId]], prefixes: Sequence[str]
) -> None:
    """Every ref below these prefixes, as upstream has them: those of ours that it has not are gone."""
    for prefix in prefixes:
        await tx.run("DELETE FROM refs WHERE repo_id = ? AND name LIKE ?", repo_id, prefix + "%")
    rows: list[Row] = [(repo_id, name, commit, tx.now) for name, commit in refs]
    await tx.many(
        "INSERT INTO refs (repo_id, name, commit_id, updated_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repo_id, name) DO UPDATE SET commit_id = excluded.commit_id, updated_at = excluded.updated_at",
        rows,
    )


# commits, paths, files


async def has_commit(reader: Reader, repo_id: int, commit: CommitId) -> bool:
    """Whether upstream is known to have a commit; its listing need not be here."""
    row = await reader.one(
        "SELECT 1 FROM mirror_commits WHERE repo_id = ? AND commit_id = ?", repo_id, commit
    )
    return row is not None


async def put_commit(tx: Tx, repo_id: int, commit: CommitId) -> None:
    await tx.run(
        "INSERT INTO mirror_commits (repo_id, commit_id, seen_at) VALUES (?, ?, ?)"
        " ON CONFLICT (repo_id, commit_id) DO NOTHING",
        repo_id, commit, tx.now,
    )  # fmt: skip


async def find_entry(reader: Reader, repo_id: int, commit: CommitId, path: str) -> Oid | None:
    """The oid at a path of a commit whose listing is not here; "" where nothing is, None where that is not known."""
    row = await reader.one(
        "SELECT oid FROM mirror_entries WHERE repo_id = ? AND commit_id = ? AND path = ?",
        repo_id, commit, path,
    )  # fmt: skip
    return row[0] if row else None


async def put_entry(tx: Tx, repo_id: int, commit: CommitId, path: str, oid: str) -> None:
    await tx.run(
        "INSERT INTO mirror_entries (repo_id, commit_id, path, oid) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repo_id, commit_id, path) DO NOTHING",
        repo_id, commit, path, oid,
    )  # fmt: skip


async def entry_oids(reader: Reader, repo_id: int, commit: CommitId) -> set[Oid]:
    """Those of the single paths that are known of a commit."""
    rows = await reader.all(
        "SELECT oid FROM mirror_entries WHERE repo_id = ? AND commit_id = ? AND oid <> ''", repo_id, commit
    )
    return {row[0] for row in rows}


async def drop_entries(tx: Tx, repo_id: int, commit: CommitId) -> None:
    """The listing is here: single paths are not needed any more."""
    await tx.run("DELETE FROM mirror_entries WHERE repo_id = ? AND commit_id = ?", repo_id, commit)


async def put_files(tx: Tx, upstream_id: int, files: Iterable[File]) -> None:
    """What an upstream says of oids. What it said first stays: an oid names one content."""
    rows: list[Row] = [(upstream_id, f.oid, f.sha256, f.size, int(f.lfs), f.pointer_size) for f in files]
    await tx.many(
        "INSERT INTO mirror_files (upstream_id, oid, sha256, size, lfs, pointer_size) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (upstream_id, oid) DO NOTHING",
        rows,
    )


async def files(reader: Reader, upstream_id: int, oids: Sequence[str]) -> dict[Oid, File]:
    """What an upstream said of oids; sha256 "" where only the content will tell."""
    found: dict[Oid, File] = {}
    for start in range(0, len(oids), _BATCH):
        part = oids[start : start + _BATCH]
        rows = await reader.all(
            "SELECT oid, sha256, size, lfs, pointer_size FROM mirror_files"  # noqa: S608
            f" WHERE upstream_id = ? AND oid IN ({marks(len(part))})",
            upstream_id, *part,
        )  # fmt: skip
        for oid, sha256, size, lfs, pointer_size in rows:
            found[oid] = File(oid, sha256, size, bool(lfs), pointer_size)
    return found


async def name_content(tx: Tx, upstream_id: int, oid: Oid, sha256: Sha256) -> None:
    """The content of a regular file has come: this is its sha256."""
    await tx.run(
        "UPDATE mirror_files SET sha256 = ? WHERE upstream_id = ? AND oid = ? AND sha256 = ''",
        sha256, upstream_id, oid,
    )  # fmt: skip


# content


async def put_blob(tx: Tx, sha256: Sha256, size: int) -> None:
    """Content has come from an upstream and is what it should be."""
    await tx.run(
        "INSERT INTO mirror_blobs (sha256, size, fetched_at, used_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (sha256) DO UPDATE SET used_at = excluded.used_at",
        sha256, size, tx.now, tx.now,
    )  # fmt: skip
    await count(tx, misses=1, fetched=size)


async def count(tx: Tx, **counts: int) -> None:
    """Add to what the mirror has done: see `mirror_counts`."""
    await tx.many(
        "INSERT INTO mirror_counts (name, count) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET count = mirror_counts.count + excluded.count",
        list(counts.items()),
    )


async def blobs(reader: Reader, digests: Sequence[str]) -> set[Sha256]:
    """Of these contents those that came from an upstream and are here."""
    found: set[Sha256] = set()
    for start in range(0, len(digests), _BATCH):
        part = digests[start : start + _BATCH]
        rows = await reader.all(
            f"SELECT sha256 FROM mirror_blobs WHERE sha256 IN ({marks(len(part))})",  # noqa: S608
            *part,
        )
        found.update(row[0] for row in rows)
    return found


async def use_blobs(tx: Tx, uses: Mapping[Sha256, int]) -> None:
    """Contents were sent so many times; 0 is a part of one. What is not the mirror's is passed over."""
    hour = tx.now - tx.now % _HOUR
    digests, hits, saved = list(uses), 0, 0
    for start in range(0, len(digests), _BATCH):
        part = digests[start : start + _BATCH]
        rows = await tx.all(
            f"SELECT sha256, size FROM mirror_blobs WHERE sha256 IN ({marks(len(part))})",  # noqa: S608
            *part,
        )
        await tx.many(
            "UPDATE mirror_blobs SET hits = hits + ?, used_at = MAX(used_at, ?) WHERE sha256 = ?",
            [(uses[sha256], hour, sha256) for sha256, _ in rows],
        )
        hits += sum(uses[sha256] for sha256, _ in rows)
        saved += sum(uses[sha256] * size for sha256, size in rows)
    if hits:
        await count(tx, hits=hits, saved=saved)


async def drop_blob(tx: Tx, sha256: Sha256) -> None:
    """It is not kept for the mirror any more: the collector removes it once nothing else refers to it."""
    await tx.run("DELETE FROM mirror_blobs WHERE sha256 = ?", sha256)


@dataclass(frozen=True, slots=True)
class Totals:
    """
    Of contents that came from upstreams: how many are here, their bytes, and when the one that was fetched first was,
    and the one that was not sent for the longest, None for none. And since the beginning: how often one was sent from
    here, how often one had to be fetched, the bytes of both; how many were evicted, and their bytes.
    """

    blobs: int
    size: int
    oldest: Millis | None
    idle: Millis | None
    hits: int
    saved: int
    misses: int
    fetched: int
    evicted: int
    freed: int


async def totals(db: Database) -> Totals:
    [here] = await db.scan(
        "SELECT COUNT(*), COALESCE(SUM(size), 0), MIN(fetched_at), MIN(used_at) FROM mirror_blobs"
    )
    counts: dict[str, int] = dict(await db.all("SELECT name, count FROM mirror_counts"))
    since = [counts.get(name, 0) for name in ("hits", "saved", "misses", "fetched", "evicted", "freed")]
    return Totals(*here, *since)


async def repos_of(db: Database, upstream_id: int | None = None) -> list[int]:
    """The repos that came from an upstream, or from any, the latest first."""
    every = "upstream_id IS NOT NULL" if upstream_id is None else "upstream_id = ?"
    values = [] if upstream_id is None else [upstream_id]
    rows = await db.scan(f"SELECT id FROM repos WHERE {every} ORDER BY id DESC", *values)  # noqa: S608
    return [row[0] for row in rows]


# rights


async def find_right(reader: Reader, repo_id: int, caller: str) -> Right | None:
    row = await reader.one(
        "SELECT allowed, recorded, checked_at FROM mirror_rights WHERE repo_id = ? AND caller = ?",
        repo_id, caller,
    )  # fmt: skip
    return Right(bool(row[0]), bool(row[1]), row[2]) if row else None


async def put_right(tx: Tx, repo_id: int, caller: str, *, allowed: bool, recorded: bool = False) -> None:
    """What upstream says now, or a grant that is recorded here: that one stays whatever upstream says."""
    await tx.run(
        "INSERT INTO mirror_rights (repo_id, caller, allowed, recorded, checked_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (repo_id, caller) DO UPDATE SET allowed = excluded.allowed, recorded = excluded.recorded,"
        " checked_at = excluded.checked_at WHERE mirror_rights.recorded <= excluded.recorded",
        repo_id, caller, int(allowed), int(recorded), tx.now,
    )  # fmt: skip


async def drop_right(tx: Tx, repo_id: int, caller: str) -> bool:
    return await tx.run("DELETE FROM mirror_rights WHERE repo_id = ? AND caller = ?", repo_id, caller) == 1


async def rights(reader: Reader, repo_id: int) -> list[tuple[str, Right]]:
    rows = await reader.all(
        "SELECT caller, allowed, recorded, checked_at FROM mirror_rights WHERE repo_id = ? ORDER BY caller",
        repo_id,
    )
    return [(row[0], Right(bool(row[1]), bool(row[2]), row[3])) for row in rows]


async def link_token(tx: Tx, upstream_id: int, user_id: int, sealed: bytes) -> None:
    """A user's own token there, in the place of the one before."""
    await tx.run(
        "INSERT INTO upstream_tokens (upstream_id, user_id, token, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (upstream_id, user_id) DO UPDATE SET token = excluded.token, created_at = excluded.created_at",
        upstream_id, user_id, sealed, tx.now,
    )  # fmt: skip


async def unlink_token(tx: Tx, upstream_id: int, user_id: int) -> bool:
    changed = await tx.run(
        "DELETE FROM upstream_tokens WHERE upstream_id = ? AND user_id = ?", upstream_id, user_id
    )
    return changed == 1


async def linked_token(reader: Reader, upstream_id: int, user_id: int) -> bytes | None:
    row = await reader.one(
        "SELECT token FROM upstream_tokens WHERE upstream_id = ? AND user_id = ?", upstream_id, user_id
    )
    return row[0] if row else None


# turns


async def claim(tx: Tx, name: str, seconds: float) -> bool:
    """Take it on to ask upstream for something; False while another does, or died at it less than `seconds` ago."""
    until = tx.now + int(seconds * 1000)
    changed = await tx.run(
        "INSERT INTO mirror_claims (name, until) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET until = excluded.until WHERE mirror_claims.until <= ?",
        name, until, tx.now,
    )  # fmt: skip
    return changed == 1


async def release(tx: Tx, name: str) -> None:
    await tx.run("DELETE FROM mirror_claims WHERE name = ?", name)
