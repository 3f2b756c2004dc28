"""Rows of repos: names and where they lead, what `main` says of them, lists, refs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hubreg.errors import RepoExists
from hubreg.model import CommitId, RepoId, RepoType, Sha256
from hubreg.store import accounts, discussions, mirror, objects, repos, uploads
from hubreg.store.db import Database, Tx
from hubreg.store.objects import Commit
from hubreg.store.repos import Facts, Repo, Search
from tests.store.clock import Clock

pytestmark = pytest.mark.anyio

A, B, C = (CommitId(letter * 40) for letter in "abc")


async def account(db: Database, name: str) -> int:
    async with db.write() as tx:
        return await accounts.insert(
            tx, public_id=f"account {name}", kind="org", name=name, key=name.lower(), fullname=""
        )


async def insert(tx: Tx, namespace: int, name: str, *, private: bool = False, type_: str = "model") -> int:
    return await repos.insert(
        tx,
        public_id=f"{type_} {namespace} {name}",
        type_=RepoType(type_),
        namespace_id=namespace,
        name=name,
        key=f"{namespace}/{name.lower()}",
        creator_id=7,
        private=private,
        sdk="",
    )


async def one(db: Database, repo_id: int) -> Repo:
    repo = await repos.get(db, repo_id)
    assert repo is not None
    return repo


# names


async def test_a_new_repo_is_found_by_its_name(db: Database) -> None:
    """By type and key, by id and by public id; it has no commit yet."""
    acme = await account(db, "Acme")
    async with db.write() as tx:
        id_ = await repos.insert(
            tx,
            public_id="f00d",
            type_=RepoType.SPACE,
            namespace_id=acme,
            name="Demo",
            key="acme/demo",
            creator_id=7,
            private=True,
            sdk="static",
        )
        now = tx.now
    found = await repos.find(db, RepoType.SPACE, "acme/demo")
    assert found is not None
    repo, moved = found
    assert not moved
    assert (repo.ref, repo.namespace_id, repo.namespace_kind) == (
        RepoId(RepoType.SPACE, "Acme", "Demo"),
        acme,
        "org",
    )
    assert (repo.private, repo.gated, repo.disabled, repo.sdk, repo.head) == (True, "", False, "static", "")
    assert (repo.created_at, repo.modified_at, repo.creator_id, repo.storage) == (now, now, 7, 0)
    assert (repo.card, repo.config, repo.library, repo.pipeline_tag) == ("{}", "{}", "", "")
    assert await repos.get(db, id_) == repo == await repos.by_public_id(db, "f00d")


async def test_names_that_lead_nowhere(db: Database, three: list[Repo]) -> None:
    """Another type, another spelling than the key, another id: nothing."""
    assert await repos.find(db, RepoType.DATASET, "ann/one") is None
    assert await repos.find(db, RepoType.MODEL, "Ann/one") is None
    assert await repos.get(db, 99) is None
    assert await repos.by_public_id(db, "none") is None


async def test_a_name_in_use_is_not_taken(db: Database, three: list[Repo]) -> None:
    """Neither by a new repo nor by one that is renamed; whoever tries changes nothing."""
    for attempt in ("insert", "rename"):
        with pytest.raises(RepoExists):
            async with db.write() as tx:
                if attempt == "insert":
                    await repos.insert(
                        tx,
                        public_id="thief",
                        type_=RepoType.MODEL,
                        namespace_id=three[0].namespace_id,
                        name="ONE",
                        key="ann/one",
                        creator_id=7,
                        private=False,
                        sdk="",
                    )
                else:
                    await repos.rename(tx, three[1], three[1].namespace_id, "ONE", "ann/one")
    assert await repos.find(db, RepoType.MODEL, "ann/one") == (three[0], False)
    assert await repos.find(db, RepoType.MODEL, "ann/two") == (three[1], False)


async def test_old_names_lead_to_a_renamed_repo(db: Database, three: list[Repo]) -> None:
    """All of them, through several renames, over to another namespace and back."""
    acme = await account(db, "Acme")
    one_ = three[0]
    async with db.write() as tx:
        await repos.rename(tx, one_, acme, "First", "acme/first")
        await repos.rename(tx, one_, acme, "FIRST", "acme/first")
    moved = await one(db, one_.id)
    assert moved.ref == RepoId(RepoType.MODEL, "Acme", "FIRST")
    assert await repos.find(db, RepoType.MODEL, "acme/first") == (moved, False)
    assert await repos.find(db, RepoType.MODEL, "ann/one") == (moved, True)
    async with db.write() as tx:
        await repos.rename(tx, one_, one_.namespace_id, "one", "ann/one")
    assert await repos.find(db, RepoType.MODEL, "ann/one") == (one_, False)
    assert await repos.find(db, RepoType.MODEL, "acme/first") == (one_, True)


async def test_an_old_name_may_be_given_to_a_new_repo(db: Database, three: list[Repo]) -> None:
    """From then on it leads to the new one."""
    async with db.write() as tx:
        await repos.rename(tx, three[0], three[0].namespace_id, "first", "ann/first")
        new = await repos.insert(
            tx,
            public_id="new",
            type_=RepoType.MODEL,
            namespace_id=three[0].namespace_id,
            name="one",
            key="ann/one",
            creator_id=7,
            private=False,
            sdk="",
        )
    assert await repos.find(db, RepoType.MODEL, "ann/one") == (await one(db, new), False)


async def test_a_deleted_repo_leaves_no_row_but_its_uploads(db: Database, three: list[Repo]) -> None:
    """Whatever a repo can own goes with it, of that repo alone; uploads stay for the sweep, which needs their rows."""
    one_, two, _ = three
    async with db.write() as tx:
        for repo in (one_, two):
            await fill(tx, repo)
        await repos.rename(tx, one_, one_.namespace_id, "first", "ann/first")
    before = await rows(db, two.id)
    assert 0 not in before.values()
    async with db.write() as tx:
        await repos.delete(tx, one_.id)
    assert await repos.get(db, one_.id) is None
    assert {table for table, count in (await rows(db, one_.id)).items() if count} == {"uploads"}
    assert await uploads.parts(db, f"upload {one_.id}") == {1: ""}
    assert await rows(db, two.id) == before
    assert await repos.find(db, RepoType.MODEL, "ann/one") is None
    assert await repos.find(db, RepoType.MODEL, "ann/first") is None


async def fill(tx: Tx, repo: Repo) -> None:
    """One row at least in every table that a repo can have rows in."""
    await objects.insert_commits(tx, repo.id, [Commit(A, "t", None, 1, "", "", "", tx.now)])  # type: ignore[arg-type]
    await objects.put_last_commits(tx, repo.id, [(A, "", b"")])
    await objects.add_large(tx, repo.id, Sha256("1" * 64), 100)
    await repos.move_ref(tx, repo.id, "refs/heads/main", None, A)
    await repos.set_head(tx, repo.id, A, Facts(tags=("tag",)))
    num = await discussions.insert(tx, repo.id, title="", author_id=1, pull=False, status="open", base="")
    await discussions.add_comment(tx, repo.id, num, 1, "")
    await uploads.insert(tx, f"upload {repo.id}", repo.id, 1, Sha256("1" * 64), 1, 1)
    await uploads.put_part(tx, f"upload {repo.id}", 1, "")
    await mirror.put_name(tx, repo.id, "main", A)
    await mirror.put_commit(tx, repo.id, A)
    await mirror.put_entry(tx, repo.id, A, "config.json", "")
    await mirror.put_right(tx, repo.id, "anybody", allowed=True)
    await mirror.let_out(tx, repo.id, A)


async def rows(db: Database, repo_id: int) -> dict[str, int]:
    """How many rows each table has of a repo. The tables are found in the schema: a new one is not forgotten."""
    tables = await db.all(
        "SELECT DISTINCT m.name FROM sqlite_master m, pragma_table_info(m.name) c"
        " WHERE m.type = 'table' AND c.name = 'repo_id'"
    )
    counts: dict[str, int] = {}
    for (table,) in tables:
        row = await db.one(f"SELECT COUNT(*) FROM {table} WHERE repo_id = ?", repo_id)  # noqa: S608
        assert row is not None
        counts[table] = row[0]
    return counts


# what is known of a repo


async def test_settings(db: Database, three: list[Repo], clock: Clock) -> None:
    """They change with the time of the change."""
    clock.at += 5
    async with db.write() as tx:
        await repos.set_settings(tx, three[0].id, private=True, gated="manual")
    assert await one(db, three[0].id) == replace(three[0], private=True, gated="manual", modified_at=clock())
    assert await one(db, three[1].id) == three[1]


async def test_what_main_says(db: Database, three: list[Repo], clock: Clock) -> None:
    """A new head brings its facts; tags keep their order, each once; without facts the old ones stay."""
    clock.at += 5
    facts = Facts(("b", "a", "b"), "text-generation", "transformers", '{"card": 1}', '{"config": 1}')
    async with db.write() as tx:
        await repos.set_head(tx, three[0].id, A, facts)
        await repos.set_head(tx, three[0].id, B, None)
    repo = await one(db, three[0].id)
    assert (repo.head, repo.pipeline_tag, repo.library) == (B, "text-generation", "transformers")
    assert (repo.card, repo.config, repo.modified_at) == ('{"card": 1}', '{"config": 1}', clock())
    assert await repos.tags(db, [repo.id, 2]) == {repo.id: ["b", "a"], 2: []}
    assert await repos.tags(db, []) == {}
    async with db.write() as tx:
        await repos.set_head(tx, repo.id, C, Facts(tags=("c",)))
    assert await repos.tags(db, [repo.id]) == {repo.id: ["c"]}


async def test_touching_a_repo(db: Database, three: list[Repo], clock: Clock) -> None:
    """Only its time changes."""
    clock.at += 5
    async with db.write() as tx:
        await repos.touch(tx, three[0].id)
    assert await one(db, three[0].id) == replace(three[0], modified_at=clock())


async def test_the_state_of_a_duplicate(db: Database, three: list[Repo]) -> None:
    """It has branches, tags, storage and facts; pull requests stay with the repo they were opened in."""
    one_, two, _ = three
    async with db.write() as tx:
        await fill(tx, one_)
        await repos.move_ref(tx, one_.id, "refs/pr/1", None, B)
        await repos.set_head(tx, one_.id, A, Facts(("x", "y"), "t", "l", "{1}", "{2}"))
        await repos.copy_state(tx, one_.id, two.id)
    source, copy = await one(db, one_.id), await one(db, two.id)
    assert [name for name, *_ in await repos.refs(db, two.id)] == ["refs/heads/main"]
    assert await repos.tags(db, [two.id]) == {two.id: ["x", "y"]}
    kept = {"id": two.id, "public_id": two.public_id, "ref": two.ref, "modified_at": copy.modified_at}
    assert copy == replace(source, **kept)  # type: ignore[arg-type]


# lists


async def names(db: Database, **wanted: object) -> str:
    search = Search(RepoType.MODEL, **wanted)  # type: ignore[arg-type]
    return " ".join(repo.ref.name for repo in await repos.search(db, search))


@pytest.fixture
async def shelf(db: Database, clock: Clock) -> list[int]:
    """Two namespaces with public and private repos, and one data set; `a` is the oldest."""
    acme, zoo = await account(db, "Acme"), await account(db, "Zoo")
    for namespace, name, private in [
        (acme, "a", False),
        (acme, "b_1", True),
        (zoo, "c", False),
        (zoo, "d", True),
        (zoo, "e%", False),
    ]:
        clock.at += 1
        async with db.write() as tx:
            id_ = await insert(tx, namespace, name, private=private)
            await repos.set_head(tx, id_, A, Facts((f"tag-{name}", "all"), f"task-{name}", f"lib-{name}"))
    async with db.write() as tx:
        await insert(tx, zoo, "data", type_="dataset")
    return [acme, zoo]


async def test_who_sees_what(db: Database, shelf: list[int]) -> None:
    """Everybody the public ones, members those of their namespaces too, an administrator all, newest first."""
    acme, zoo = shelf
    assert await names(db) == "e% c a"
    assert await names(db, visible=(acme,)) == "e% c b_1 a"
    assert await names(db, visible=(acme, zoo)) == "e% d c b_1 a"
    assert await names(db, visible=None) == "e% d c b_1 a"
    assert await names(db, visible=(acme,), public=False) == "b_1 a"
    assert await names(db, visible=(), public=False) == ""


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"author": "acme"}, "b_1 a"),
        ({"author": "acme", "words": ("B",)}, "b_1"),
        ({"words": ("acme/",)}, "b_1 a"),
        ({"words": ("a", "m", "1")}, "b_1"),
        ({"words": ("_",)}, "b_1"),
        ({"words": ("%",)}, "e%"),
        ({"words": ("\\",)}, ""),
        ({"words": ("' OR 1=1 --",)}, ""),
        ({"tags": ("all",)}, "e% d c b_1 a"),
        ({"tags": ("all", "tag-c")}, "c"),
        ({"tags": ("lib-c",)}, "c"),
        ({"tags": ("task-c", "tag-c")}, "c"),
        ({"tags": ("tag-c", "tag-d")}, ""),
        ({"gated": True}, ""),
        ({"gated": False}, "e% d c b_1 a"),
        ({"sort": "created_at", "ascending": True}, "a b_1 c d e%"),
        ({"sort": "id", "ascending": True, "limit": 2}, "a b_1"),
        ({"sort": "repos.name; DROP TABLE repos"}, "e% d c b_1 a"),
    ],
    ids=str,
)
async def test_what_is_looked_for(db: Database, wanted: dict[str, object], expected: str) -> None:
    """Every condition narrows; what means something to SQL means only itself."""
    assert await names(db, visible=None, **wanted) == expected


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("ascending", [False, True])
async def test_pages_have_every_repo_once(db: Database, ascending: bool) -> None:
    """Also where all have the same value of what they are sorted by."""
    pages: list[int] = []
    search = Search(RepoType.MODEL, None, sort="likes", ascending=ascending, limit=2)
    while found := await repos.search(db, search):
        pages += [repo.id for repo in found]
        search = replace(search, after=(found[-1].likes, found[-1].id))
    assert pages == sorted(pages, reverse=not ascending)
    assert len(pages) == 5


async def test_how_many_a_namespace_has(db: Database, shelf: list[int]) -> None:
    """By type, with the private ones or without; none of a type is no entry."""
    acme, zoo = shelf
    assert await repos.count(db, acme, private=True) == {"model": 2}
    assert await repos.count(db, acme, private=False) == {"model": 1}
    assert await repos.count(db, zoo, private=True) == {"model": 3, "dataset": 1}


# refs


async def test_a_ref_moves_from_where_it_was_read(db: Database, three: list[Repo]) -> None:
    """Compare and swap: who comes second, or thinks of another commit, or of none, moves nothing."""
    repo = three[0].id

    async def move(old: CommitId | None, new: CommitId) -> bool:
        async with db.write() as tx:
            return await repos.move_ref(tx, repo, "refs/heads/main", old, new)

    assert not await move(A, B)
    assert await move(None, A)
    assert not await move(None, B)
    assert not await move(B, C)
    assert await repos.find_ref(db, repo, "refs/heads/main") == A
    assert await move(A, B)
    assert not await move(A, C)
    assert await repos.find_ref(db, repo, "refs/heads/main") == B
    assert await repos.find_ref(db, three[1].id, "refs/heads/main") is None


async def test_refs_are_listed_by_name_and_deleted_once(db: Database, three: list[Repo]) -> None:
    """Those of one repo; deleting says whether there was anything to delete."""
    repo = three[0].id
    async with db.write() as tx:
        for name in ("refs/tags/v1", "refs/heads/main", "refs/heads/Main"):
            assert await repos.move_ref(tx, repo, name, None, A)
        assert await repos.delete_ref(tx, repo, "refs/tags/v1")
        assert not await repos.delete_ref(tx, repo, "refs/tags/v1")
        assert not await repos.delete_ref(tx, three[1].id, "refs/heads/main")
    listed = [name for name, *_ in await repos.refs(db, repo)]
    assert listed == ["refs/heads/Main", "refs/heads/main"]
