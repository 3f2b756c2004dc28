"""Rows of the mirror."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hubreg.model import CommitId, Millis, Oid, RepoType, Sha256
from hubreg.store import accounts, mirror, repos
from hubreg.store.db import Database, Tx
from hubreg.store.mirror import Described, RuleRow, Upstream
from hubreg.store.objects import File
from tests.store.clock import Clock

pytestmark = pytest.mark.anyio

A, B = CommitId("a" * 40), CommitId("b" * 40)
OID = Oid("1" * 40)
DIGEST = Sha256("2" * 64)
HUB = Upstream(0, "hub", "https://hub.example", hosts=(".example", "cdn.test"), proxy="http://proxy:1")


async def made(tx: Tx) -> tuple[int, int]:
    """An upstream and a repo of it."""
    upstream = await mirror.put_upstream(tx, HUB, b"sealed")
    owner = await accounts.insert(
        tx, public_id="1" * 24, kind="mirror", name="org", key="org", fullname="org"
    )
    repo = await repos.insert(
        tx, public_id="2" * 24, type_=RepoType.MODEL, namespace_id=owner, name="m", key="org/m", creator_id=0,
        private=False, sdk="",
    )  # fmt: skip
    return upstream, repo


async def test_an_upstream_is_kept_by_its_name(db: Database) -> None:
    """With everything that it has; adding it again changes it."""
    async with db.write() as tx:
        id_, _ = await made(tx)
    assert await mirror.upstreams(db) == [(replace(HUB, id=id_), b"sealed")]
    async with db.write() as tx:
        assert await mirror.put_upstream(tx, replace(HUB, url="http://other"), b"") == id_
        await mirror.set_active(tx, id_, active=False)
    assert await mirror.upstreams(db) == [(replace(HUB, id=id_, url="http://other", active=False), b"")]


def test_a_token_is_not_shown() -> None:
    """Whatever prints an upstream, a log above all, has no token in it (PITFALLS 38)."""
    assert "secret" not in repr(replace(HUB, token="secret"))


async def test_an_upstream_goes_with_what_is_its_own(db: Database) -> None:
    """Rules, what it said of files, tokens of its users."""
    async with db.write() as tx:
        id_ = await mirror.put_upstream(tx, HUB, b"")
        ann = await accounts.insert(tx, public_id="a", kind="user", name="ann", key="ann", fullname="")
        await mirror.add_rule(tx, RuleRow(0, "", "*", "mirror", id_, 60, 0))
        await mirror.put_files(tx, id_, [File(OID, Sha256(""), 1, False, 0)])
        await mirror.link_token(tx, id_, ann, b"t")
        assert not await mirror.holds_repos(tx, id_)
        await mirror.delete_upstream(tx, id_)
    assert (await mirror.upstreams(db), await mirror.rules(db)) == ([], [])


async def test_rules_are_kept_in_order(db: Database) -> None:
    """A new one goes to the end, or before all others."""
    async with db.write() as tx:
        id_ = await mirror.put_upstream(tx, HUB, b"")
        for pattern, first in (("b", False), ("c", False), ("a", True)):
            await mirror.add_rule(tx, RuleRow(0, "", pattern, "mirror", id_, 60, 0), first=first)
    kept = await mirror.rules(db)
    assert [rule.pattern for rule in kept] == ["a", "b", "c"]
    async with db.write() as tx:
        assert await mirror.delete_rule(tx, kept[1].id)
        assert not await mirror.delete_rule(tx, kept[1].id)
    assert [rule.pattern for rule in await mirror.rules(db)] == ["a", "c"]


async def test_a_repo_is_bound_and_described(db: Database) -> None:
    """Its row says whose it is and what upstream says; what was gone and is described again is back."""
    async with db.write() as tx:
        upstream, repo = await made(tx)
        assert await mirror.find_repo(tx, upstream, "model", "org/m") is None
        await mirror.bind(tx, repo, upstream, "org/m")
        await mirror.set_state(tx, repo, "gone")
    row = await repos.get(db, repo)
    assert row is not None
    assert (row.upstream_id, row.upstream_name, row.upstream_state) == (upstream, "org/m", "gone")
    async with db.write() as tx:
        await mirror.describe(tx, repo, Described(True, "auto", True, "", Millis(1), Millis(2), 3, 4))
    row = await repos.get(db, repo)
    assert row is not None
    assert (row.private, row.gated, row.disabled, row.created_at, row.modified_at) == (
        True,
        "auto",
        True,
        1,
        2,
    )
    assert (row.likes, row.downloads, row.upstream_state) == (3, 4, "")
    assert await mirror.find_repo(db, upstream, "model", "org/m") == repo
    assert await mirror.repos_of(db, upstream) == await mirror.repos_of(db) == [repo]


async def test_an_alias_takes_no_name_from_another(db: Database) -> None:
    """A legacy name leads to its repo, unless something here has it."""
    async with db.write() as tx:
        _, repo = await made(tx)
        await mirror.add_alias(tx, "model", "m", repo)
        await mirror.add_alias(tx, "model", "org/m", repo)
    assert await repos.find(db, RepoType.MODEL, "m") == (await repos.get(db, repo), True)
    assert await repos.find(db, RepoType.MODEL, "org/m") == (await repos.get(db, repo), False)


async def test_names_and_pins(db: Database, clock: Clock) -> None:
    """What a name means has a time; one that is pinned stays, whatever upstream says."""
    async with db.write() as tx:
        _, repo = await made(tx)
        await mirror.put_name(tx, repo, "main", A)
    assert await mirror.find_name(db, repo, "main") == mirror.Name(A, clock(), False)
    clock.at += 5
    async with db.write() as tx:
        await mirror.put_name(tx, repo, "main", B)
        assert not await mirror.pin_name(tx, repo, "other", pinned=True)
        assert await mirror.pin_name(tx, repo, "main", pinned=True)
        await mirror.put_name(tx, repo, "main", A)
        await mirror.drop_name(tx, repo, "main")
    assert await mirror.find_name(db, repo, "main") == mirror.Name(B, clock(), True)
    assert await mirror.pins(db) == [(repo, "main", B)]
    assert await mirror.checked_at(db, repo) == clock()
    async with db.write() as tx:
        await mirror.pin_name(tx, repo, "main", pinned=False)
        await mirror.drop_name(tx, repo, "main")
    assert await mirror.find_name(db, repo, "main") is None


async def test_refs_are_what_upstream_has(db: Database) -> None:
    """Those below the prefixes that were listed are replaced, others stay."""
    async with db.write() as tx:
        _, repo = await made(tx)
        await mirror.put_refs(tx, repo, [("refs/heads/main", A), ("refs/pr/1", A)], ["refs/"])
        await mirror.put_refs(tx, repo, [("refs/heads/new", B)], ["refs/heads/", "refs/tags/"])
    assert await repos.refs(db, repo) == [("refs/heads/new", B), ("refs/pr/1", A)]


async def test_commits_and_single_paths(db: Database) -> None:
    """What is known of a commit before its listing is here: that it exists, and what was asked for."""
    async with db.write() as tx:
        _, repo = await made(tx)
        assert not await mirror.has_commit(tx, repo, A)
        await mirror.put_commit(tx, repo, A)
        await mirror.put_entry(tx, repo, A, "config.json", OID)
        await mirror.put_entry(tx, repo, A, "missing", "")
    assert await mirror.has_commit(db, repo, A)
    assert await mirror.find_entry(db, repo, A, "config.json") == OID
    assert await mirror.find_entry(db, repo, A, "missing") == ""
    assert await mirror.find_entry(db, repo, A, "unknown") is None
    assert await mirror.find_entry(db, repo, B, "config.json") is None
    async with db.write() as tx:
        await mirror.drop_entries(tx, repo, A)
    assert await mirror.find_entry(db, repo, A, "config.json") is None


async def test_files_are_what_each_upstream_says(db: Database) -> None:
    """What it said first stays, one upstream's word is not another's, and nothing is said to hosted repos."""
    file = File(OID, Sha256(""), 10, False, 0)
    async with db.write() as tx:
        upstream, _ = await made(tx)
        other = await mirror.put_upstream(tx, replace(HUB, name="other"), b"")
        await mirror.put_files(tx, upstream, [file, replace(file, size=11)])
        await mirror.name_content(tx, upstream, OID, DIGEST)
        await mirror.name_content(tx, upstream, OID, Sha256("3" * 64))
    assert await mirror.files(db, upstream, [OID, "0" * 40]) == {OID: replace(file, sha256=DIGEST)}
    assert await mirror.files(db, other, [OID]) == {}
    assert await db.all("SELECT * FROM files") == []


async def test_content_and_what_it_saved(db: Database) -> None:
    """How often it was sent, to be told and to know what was used last."""
    async with db.write() as tx:
        await mirror.put_blob(tx, DIGEST, 10)
        await mirror.use_blobs(tx, {DIGEST: 3, Sha256("4" * 64): 1})
        now = tx.now
    assert await mirror.blobs(db, [DIGEST, "4" * 64]) == {DIGEST}
    assert await mirror.totals(db) == mirror.Totals(1, 10, now, now, 3, 30, 1, 10, 0, 0)
    async with db.write() as tx:
        await mirror.drop_blob(tx, DIGEST)
    assert await mirror.totals(db) == mirror.Totals(0, 0, None, None, 3, 30, 1, 10, 0, 0)


async def test_a_grant_that_is_recorded_stays(db: Database, clock: Clock) -> None:
    """Upstream's word is replaced by its next one, and by a grant made here, which nothing but its removal ends."""
    async with db.write() as tx:
        _, repo = await made(tx)
        await mirror.put_right(tx, repo, "user:1", allowed=False)
        await mirror.put_right(tx, repo, "user:1", allowed=True)
    assert await mirror.find_right(db, repo, "user:1") == mirror.Right(True, False, clock())
    async with db.write() as tx:
        await mirror.put_right(tx, repo, "user:1", allowed=True, recorded=True)
        await mirror.put_right(tx, repo, "user:1", allowed=False)
    assert await mirror.rights(db, repo) == [("user:1", mirror.Right(True, True, clock()))]
    async with db.write() as tx:
        assert await mirror.drop_right(tx, repo, "user:1")
    assert await mirror.find_right(db, repo, "user:1") is None


async def test_linked_tokens(db: Database) -> None:
    """One for each user and upstream."""
    async with db.write() as tx:
        id_ = await mirror.put_upstream(tx, HUB, b"")
        ann = await accounts.insert(tx, public_id="a", kind="user", name="ann", key="ann", fullname="")
        await mirror.link_token(tx, id_, ann, b"old")
        await mirror.link_token(tx, id_, ann, b"new")
    assert await mirror.linked_token(db, id_, ann) == b"new"
    async with db.write() as tx:
        assert await mirror.unlink_token(tx, id_, ann)
        assert not await mirror.unlink_token(tx, id_, ann)
    assert await mirror.linked_token(db, id_, ann) is None


async def test_a_claim_is_one_process_s(db: Database, clock: Clock) -> None:
    """Until it is released, or its owner took so long that it must have died."""
    async with db.write() as tx:
        assert await mirror.claim(tx, "x", 10)
        assert not await mirror.claim(tx, "x", 10)
        assert await mirror.claim(tx, "y", 10)
        await mirror.release(tx, "x")
        assert await mirror.claim(tx, "x", 10)
    clock.at += 10_000
    async with db.write() as tx:
        assert await mirror.claim(tx, "x", 10)
