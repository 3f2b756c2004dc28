"""Rows of repos, their names, tags and refs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hubreg.errors import RepoExists
from hubreg.model import CommitId, Millis, Oid, RepoId, RepoType
from hubreg.store.db import Database, Reader, Row, Tx, marks


@dataclass(frozen=True, slots=True)
class Repo:
    """
    A repo, and what is read off the files of its `main` (`pipeline_tag`, `library`, `card`, `config`). One with an
    `upstream_id` is mirrored: it is what it is there, under `upstream_name`; `upstream_state` is "gone" once it is not
    there any more.
    """

    id: int
    public_id: str
    ref: RepoId
    namespace_id: int
    namespace_kind: str  # "user", "org", or "mirror" of a name that only upstream knows
    creator_id: int
    private: bool
    gated: str  # "", "auto" or "manual"
    disabled: bool
    sdk: str
    created_at: Millis
    modified_at: Millis
    head: CommitId
    storage: int
    likes: int
    downloads: int
    pipeline_tag: str
    library: str
    card: str  # JSON
    config: str  # JSON
    upstream_id: int | None = None
    upstream_name: str = ""
    upstream_state: str = ""


_COLUMNS = (
    "repos.id, repos.public_id, repos.type, accounts.name, repos.name, repos.namespace_id, accounts.kind,"
    " repos.creator_id, repos.private, repos.gated, repos.disabled, repos.sdk, repos.created_at,"
    " repos.modified_at, repos.head, repos.storage, repos.likes, repos.downloads, repos.pipeline_tag,"
    " repos.library, repos.card, repos.config, repos.upstream_id, repos.upstream_name, repos.upstream_state"
)
_FROM = " FROM repos JOIN accounts ON accounts.id = repos.namespace_id"


def _repo(row: Row) -> Repo:
    id_, public_id, type_, namespace, name, namespace_id, kind, creator, private, gated, disabled = row[:11]
    ref = RepoId(RepoType(type_), namespace, name)
    return Repo(
        id_, public_id, ref, namespace_id, kind, creator, bool(private), gated, bool(disabled), *row[11:]
    )


async def find(reader: Reader, type_: RepoType, key: str) -> tuple[Repo, bool] | None:
    """The repo that a name leads to, and whether the name is an old one."""
    row = await reader.one(
        f"SELECT {_COLUMNS}, repo_names.moved{_FROM} JOIN repo_names ON repo_names.repo_id = repos.id"
        " WHERE repo_names.type = ? AND repo_names.key = ?",
        type_.value, key,
    )  # fmt: skip
    return (_repo(row[:-1]), bool(row[-1])) if row else None


async def get(reader: Reader, repo_id: int) -> Repo | None:
    row = await reader.one(f"SELECT {_COLUMNS}{_FROM} WHERE repos.id = ?", repo_id)
    return _repo(row) if row else None


async def by_public_id(reader: Reader, public_id: str) -> Repo | None:
    row = await reader.one(f"SELECT {_COLUMNS}{_FROM} WHERE repos.public_id = ?", public_id)
    return _repo(row) if row else None


async def insert(
    tx: Tx,
    *,
    public_id: str,
    type_: RepoType,
    namespace_id: int,
    name: str,
    key: str,
    creator_id: int,
    private: bool,
    sdk: str,
) -> int:
    """A new repo under its name; an old name that redirected is taken over. Raises `RepoExists`."""
    row = await tx.one(
        "INSERT INTO repos (public_id, type, namespace_id, name, creator_id, private, sdk, created_at, modified_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        public_id, type_.value, namespace_id, name, creator_id, int(private), sdk, tx.now, tx.now,
    )  # fmt: skip
    repo_id = int(row[0]) if row else 0
    await _take_name(tx, type_, key, repo_id)
    return repo_id


async def _take_name(tx: Tx, type_: RepoType, key: str, repo_id: int) -> None:
    taken = await tx.run(
        "INSERT INTO repo_names (type, key, repo_id, moved) VALUES (?, ?, ?, 0)"
        " ON CONFLICT (type, key) DO UPDATE SET repo_id = excluded.repo_id, moved = 0 WHERE repo_names.moved = 1",
        type_.value, key, repo_id,
    )  # fmt: skip
    if not taken:
        raise RepoExists(f"The name {key} is taken.")


async def rename(tx: Tx, repo: Repo, namespace_id: int, name: str, key: str) -> None:
    """Give a repo another name; those it had lead to it still. Raises `RepoExists`."""
    await tx.run("UPDATE repos SET namespace_id = ?, name = ? WHERE id = ?", namespace_id, name, repo.id)
    await tx.run("UPDATE repo_names SET moved = 1 WHERE repo_id = ?", repo.id)
    await _take_name(tx, repo.ref.type, key, repo.id)


_OWNED = (
    "repo_names repo_tags refs commits last_commits lfs_objects discussions discussion_events"
    " mirror_names mirror_commits mirror_entries mirror_rights mirror_releases".split()
)


async def delete(tx: Tx, repo_id: int) -> None:
    """
    The repo and the rows that are its own. Objects and blobs may be shared: the collector's business. Uploads
    under way stay until they expire: their rows are what leads to their files.
    """
    for table in _OWNED:
        await tx.run(f"DELETE FROM {table} WHERE repo_id = ?", repo_id)  # noqa: S608 our own tables
    await tx.run("DELETE FROM repos WHERE id = ?", repo_id)


async def set_settings(tx: Tx, repo_id: int, *, private: bool, gated: str) -> None:
    await tx.run(
        "UPDATE repos SET private = ?, gated = ?, modified_at = ? WHERE id = ?",
        int(private), gated, tx.now, repo_id,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files of `main` say of the repo; the JSON is rendered already."""

    tags: tuple[str, ...] = ()
    pipeline_tag: str = ""
    library: str = ""
    card: str = "{}"
    config: str = "{}"


async def set_head(tx: Tx, repo_id: int, head: CommitId, facts: Facts | None) -> None:
    """`main` is at `head` now; `facts` None leaves what was read off the files before."""
    await tx.run("UPDATE repos SET head = ?, modified_at = ? WHERE id = ?", head, tx.now, repo_id)
    if facts is None:
        return
    await tx.run(
        "UPDATE repos SET pipeline_tag = ?, library = ?, card = ?, config = ? WHERE id = ?",
        facts.pipeline_tag, facts.library, facts.card, facts.config, repo_id,
    )  # fmt: skip
    await tx.run("DELETE FROM repo_tags WHERE repo_id = ?", repo_id)
    rows: list[Row] = [(repo_id, tag, place) for place, tag in enumerate(dict.fromkeys(facts.tags))]
    await tx.many("INSERT INTO repo_tags (repo_id, tag, place) VALUES (?, ?, ?)", rows)


async def copy_state(tx: Tx, source_id: int, target_id: int) -> None:
    """Branches, tags and what is read off the files; pull requests belong to the repo they were opened in."""
    await tx.run(
        "INSERT INTO refs (repo_id, name, commit_id, tag, updated_at)"
        " SELECT ?, name, commit_id, tag, ? FROM refs WHERE repo_id = ? AND name NOT LIKE 'refs/pr/%'",
        target_id, tx.now, source_id,
    )  # fmt: skip
    await tx.run(
        "INSERT INTO repo_tags (repo_id, tag, place) SELECT ?, tag, place FROM repo_tags WHERE repo_id = ?",
        target_id, source_id,
    )  # fmt: skip
    copied = ("head", "storage", "recount", "pipeline_tag", "library", "card", "config")
    await tx.run(
        f"UPDATE repos SET ({', '.join(copied)}) ="  # noqa: S608 our own columns
        f" (SELECT {', '.join(copied)} FROM repos WHERE id = ?) WHERE id = ?",
        source_id, target_id,
    )  # fmt: skip


async def touch(tx: Tx, repo_id: int) -> None:
    await tx.run("UPDATE repos SET modified_at = ? WHERE id = ?", tx.now, repo_id)


async def tags(reader: Reader, repo_ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {repo_id: [] for repo_id in repo_ids}
    if repo_ids:
        rows = await reader.all(
            f"SELECT repo_id, tag FROM repo_tags WHERE repo_id IN ({marks(len(repo_ids))})"  # noqa: S608
            " ORDER BY repo_id, place",
            *repo_ids,
        )
        for repo_id, tag in rows:
            found[repo_id].append(tag)
    return found


@dataclass(frozen=True, slots=True)
class Search:
    """Which repos a list shows. `visible` None is everything; else public ones and those of these namespaces."""

    type: RepoType
    visible: tuple[int, ...] | None = ()
    public: bool = True
    author: str | None = None  # a namespace, as looked up
    words: tuple[str, ...] = ()  # each must be part of the id
    tags: tuple[str, ...] = ()  # each must be a tag, the library or the task
    gated: bool | None = None
    sort: str = "modified_at"  # created_at, modified_at, likes, downloads
    ascending: bool = False
    after: tuple[int, int] | None = None  # the sort value and id of the last row of the page before
    limit: int = 500


_SORTS = {"created_at", "modified_at", "likes", "downloads", "id"}


async def search(db: Database, wanted: Search) -> list[Repo]:
    """One page of repos. Ties of the sort are broken by age, so that a page begins where the last one ended."""
    where, values = ["repos.type = ?"], [wanted.type.value]  # type: list[str], list[object]
    if wanted.visible is not None:
        public = "repos.private = 0" if wanted.public else "1 = 0"
        where.append(f"({public} OR repos.namespace_id IN ({marks(len(wanted.visible)) or 'NULL'}))")
        values += wanted.visible
    if wanted.author is not None:
        where.append("accounts.key = ?")
        values.append(wanted.author)
    for word in wanted.words:
        where.append("LOWER(accounts.name || '/' || repos.name) LIKE ? ESCAPE '\\'")
        values.append(f"%{_like(word.lower())}%")
    for tag in wanted.tags:
        where.append(
            "(EXISTS (SELECT 1 FROM repo_tags WHERE repo_tags.repo_id = repos.id AND repo_tags.tag = ?)"
            " OR repos.library = ? OR repos.pipeline_tag = ?)"
        )
        values += [tag, tag, tag]
    if wanted.gated is not None:
        where.append("repos.gated <> ''" if wanted.gated else "repos.gated = ''")
    sort = wanted.sort if wanted.sort in _SORTS else "modified_at"
    before, order = (">", "ASC") if wanted.ascending else ("<", "DESC")
    if wanted.after is not None:
        where.append(f"(repos.{sort} {before} ? OR (repos.{sort} = ? AND repos.id {before} ?))")
        values += [wanted.after[0], wanted.after[0], wanted.after[1]]
    rows = await db.scan(
        f"SELECT {_COLUMNS}{_FROM} WHERE {' AND '.join(where)}"
        f" ORDER BY repos.{sort} {order}, repos.id {order} LIMIT ?",
        *values, wanted.limit,
    )  # fmt: skip
    return [_repo(row) for row in rows]


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


async def count(reader: Reader, namespace_id: int, *, private: bool) -> dict[RepoType, int]:
    """How many repos of each type a namespace has, the private ones only with `private`."""
    rows = await reader.all(
        "SELECT type, COUNT(*) FROM repos WHERE namespace_id = ? AND private <= ? GROUP BY type",
        namespace_id, int(private),
    )  # fmt: skip
    return {RepoType(row[0]): row[1] for row in rows}


async def all_tags(db: Database, type_: RepoType) -> list[str]:
    """Every tag that some public repo has."""
    rows = await db.scan(
        "SELECT DISTINCT repo_tags.tag FROM repo_tags JOIN repos ON repos.id = repo_tags.repo_id"
        " WHERE repos.type = ? AND repos.private = 0 ORDER BY repo_tags.tag",
        type_.value,
    )
    return [row[0] for row in rows]


# refs


async def refs(reader: Reader, repo_id: int) -> list[tuple[str, CommitId]]:
    rows = await reader.all("SELECT name, commit_id FROM refs WHERE repo_id = ? ORDER BY name", repo_id)
    return [(name, commit) for name, commit in rows]


async def tips(reader: Reader, repo_id: int) -> set[CommitId]:
    """Where branches and tags are, and whatever else is no pull request's."""
    return {commit for name, commit in await refs(reader, repo_id) if not name.startswith("refs/pr/")}


async def find_ref(reader: Reader, repo_id: int, name: str) -> CommitId | None:
    row = await reader.one("SELECT commit_id FROM refs WHERE repo_id = ? AND name = ?", repo_id, name)
    return row[0] if row else None


async def clashing_ref(reader: Reader, repo_id: int, name: str) -> str | None:
    """A ref that would be a folder of `name`, or `name` one of it: git keeps refs as files, and cannot have both."""
    parts = name.split("/")
    above = ["/".join(parts[:length]) for length in range(3, len(parts))]
    row = await reader.one(
        f"SELECT name FROM refs WHERE repo_id = ? AND (name IN ({marks(len(above)) or 'NULL'})"  # noqa: S608
        " OR (name > ? AND name < ?)) LIMIT 1",
        repo_id, *above, f"{name}/", f"{name}0",
    )  # fmt: skip
    return row[0] if row else None


async def annotated_tags(reader: Reader, repo_id: int) -> dict[str, Oid]:
    """The oids of the tag objects that refs lead through, by ref."""
    rows = await reader.all("SELECT name, tag FROM refs WHERE repo_id = ? AND tag IS NOT NULL", repo_id)
    return dict(rows)


async def move_ref(
    tx: Tx, repo_id: int, name: str, old: CommitId | None, new: CommitId, tag: Oid | None = None
) -> bool:
    """
    Compare and swap; `old` None creates. `tag` is the annotated tag by which it leads to `new`, where there is one.
    False when the ref is not where the caller read it.
    """
    if old is None:
        changed = await tx.run(
            "INSERT INTO refs (repo_id, name, commit_id, tag, updated_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (repo_id, name) DO NOTHING",
            repo_id, name, new, tag, tx.now,
        )  # fmt: skip
    else:
        changed = await tx.run(
            "UPDATE refs SET commit_id = ?, tag = ?, updated_at = ?"
            " WHERE repo_id = ? AND name = ? AND commit_id = ?",
            new, tag, tx.now, repo_id, name, old,
        )  # fmt: skip
    return changed == 1


async def delete_ref(tx: Tx, repo_id: int, name: str) -> bool:
    return await tx.run("DELETE FROM refs WHERE repo_id = ? AND name = ?", repo_id, name) == 1
