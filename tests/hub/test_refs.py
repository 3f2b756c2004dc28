"""Branches and tags: what may be made, moved and removed, and by whom."""

from __future__ import annotations

import pytest

from hubreg.errors import Conflict, Invalid, Refused, RevisionNotFound
from hubreg.formats.gitobjects import object_oid, parse_tag
from hubreg.store import objects, repos
from tests.hub.conftest import Hub, add

pytestmark = pytest.mark.anyio


async def test_refs_are_listed_by_kind_with_main_first(hub: Hub) -> None:
    """llama.cpp takes the first branch where it finds no `main`."""
    repo = await hub.repo()
    await hub.app.refs.create_branch(hub.ann, repo, "a-first")
    await hub.app.refs.create_tag(hub.ann, repo, "v1", "main")
    head = (await hub.again(repo)).head
    listed = await hub.app.refs.list(hub.bob, repo)
    assert listed.branches == [("main", "refs/heads/main", head), ("a-first", "refs/heads/a-first", head)]
    assert listed.tags == [("v1", "refs/tags/v1", head)]
    assert listed.converts == listed.pulls == []


async def test_a_branch_starts_anywhere(hub: Hub) -> None:
    """At `main`, another branch, a tag, an abbreviated commit; not at what does not exist."""
    repo = await hub.repo()
    first = (await hub.again(repo)).head
    second = (await hub.commit(repo, add("a.txt"))).id
    assert await hub.app.refs.create_branch(hub.ann, repo, "b1") == second
    assert await hub.app.refs.create_branch(hub.ann, repo, "b2", start=first[:8]) == first
    assert await hub.app.refs.create_branch(hub.ann, repo, "b3", start="b2") == first
    with pytest.raises(RevisionNotFound):
        await hub.app.refs.create_branch(hub.ann, repo, "b4", start="absent")


async def test_a_branch_that_exists_is_kept_unless_told_otherwise(hub: Hub) -> None:
    """`main` is never overwritten."""
    repo = await hub.repo()
    first = (await hub.again(repo)).head
    await hub.app.refs.create_branch(hub.ann, repo, "b")
    second = (await hub.commit(repo, add("a.txt"))).id
    with pytest.raises(Conflict, match="Reference refs/heads/b already exists"):
        await hub.app.refs.create_branch(hub.ann, repo, "b")
    assert await hub.app.snapshots.resolve(repo, "b") == first
    await hub.app.refs.create_branch(hub.ann, repo, "b", overwrite=True)
    assert await hub.app.snapshots.resolve(repo, "b") == second
    with pytest.raises(Conflict):
        await hub.app.refs.create_branch(hub.ann, repo, "main", start=first, overwrite=True)


async def test_an_empty_branch_has_no_files(hub: Hub) -> None:
    """It begins a history of its own."""
    repo = await hub.repo()
    await hub.app.refs.create_branch(hub.ann, repo, "blank", empty=True)
    assert await hub.tree(repo, "blank") == []
    await hub.commit(repo, add("a.txt"), revision="blank")
    assert await hub.tree(repo, "blank") == ["a.txt"]
    assert (await hub.app.history.commits(hub.ann, repo, "blank"))[1] == 2


@pytest.mark.parametrize(
    "name", ["", "a b", "a..b", "refs/heads/x", "HEAD", "a^", "a~1", "x.lock", "a" * 40, "-d", "/x"]
)
async def test_names_that_git_refuses_are_refused(hub: Hub, name: str) -> None:
    """The revision of a tag is looked at first, as the Hub does."""
    repo = await hub.repo()
    with pytest.raises(Invalid, match="Invalid reference for a branch"):
        await hub.app.refs.create_branch(hub.ann, repo, name)
    with pytest.raises(Invalid, match="Invalid reference for a tag"):
        await hub.app.refs.create_tag(hub.ann, repo, name, "main")
    with pytest.raises(RevisionNotFound):
        await hub.app.refs.create_tag(hub.ann, repo, name, "absent")
    assert await repos.refs(hub.app.db, repo.id) == [("refs/heads/main", repo.head)]


async def test_a_tag_stays_where_it_was_put(hub: Hub) -> None:
    """It can be removed and made again, not moved."""
    repo = await hub.repo()
    first = await hub.app.refs.create_tag(hub.ann, repo, "v1", None, "the first")
    await hub.commit(repo, add("a.txt"))
    with pytest.raises(Conflict):
        await hub.app.refs.create_tag(hub.ann, repo, "v1", "main")
    assert await hub.app.snapshots.resolve(repo, "v1") == first
    await hub.app.refs.delete_tag(hub.ann, repo, "v1")
    with pytest.raises(RevisionNotFound, match="Invalid rev id: v1"):
        await hub.app.refs.delete_tag(hub.ann, repo, "v1")


async def test_a_branch_and_a_tag_may_share_a_name(hub: Hub) -> None:
    """The branch is what the bare name means; deleting one leaves the other."""
    repo = await hub.repo()
    tagged = await hub.app.refs.create_tag(hub.ann, repo, "same", "main")
    await hub.app.refs.create_branch(hub.ann, repo, "same")
    moved = (await hub.commit(repo, add("a.txt"), revision="same")).id
    assert await hub.app.snapshots.resolve(repo, "same") == moved
    await hub.app.refs.delete_branch(hub.ann, repo, "same")
    assert await hub.app.snapshots.resolve(repo, "same") == tagged


async def test_main_cannot_be_deleted(hub: Hub) -> None:
    """Nor can what is no branch."""
    repo = await hub.repo()
    with pytest.raises(Refused, match="Cannot delete refs/heads/main"):
        await hub.app.refs.delete_branch(hub.ann, repo, "main")
    with pytest.raises(RevisionNotFound):
        await hub.app.refs.delete_branch(hub.ann, repo, "absent")
    assert await repos.refs(hub.app.db, repo.id) == [("refs/heads/main", repo.head)]


async def test_strangers_move_nothing(hub: Hub) -> None:
    """Every one of the calls asks for the right to write."""
    repo = await hub.repo()
    refs = hub.app.refs
    for call in (
        refs.create_branch(hub.bob, repo, "b"),
        refs.create_branch(hub.bob, repo, "b", empty=True),
        refs.create_tag(hub.bob, repo, "t", "main"),
        refs.delete_branch(hub.bob, repo, "main"),
        refs.delete_tag(hub.bob, repo, "t"),
    ):
        with pytest.raises(Refused, match="You do not have the right"):
            await call
    assert await repos.refs(hub.app.db, repo.id) == [("refs/heads/main", repo.head)]


@pytest.mark.parametrize(
    ("there", "new"), [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a"), ("a", "a/b/c"), ("main/x", "main")]
)
async def test_no_ref_is_a_folder_of_another(hub: Hub, there: str, new: str) -> None:
    """Git keeps refs as files: a repo with both could not be cloned. Branches and tags are apart."""
    repo = await hub.repo()
    refs, ann = hub.app.refs, hub.ann
    await refs.create_tag(ann, repo, there, "main")
    with pytest.raises(Conflict, match=f"cannot lock ref 'refs/tags/{new}': 'refs/tags/{there}' exists"):
        await refs.create_tag(ann, repo, new, "main")
    if new != "main":
        await refs.create_branch(ann, repo, there)
        for empty in (False, True):
            with pytest.raises(
                Conflict, match=f"'refs/heads/{there}' exists; cannot create 'refs/heads/{new}'"
            ):
                await refs.create_branch(ann, repo, new, empty=empty)
        await refs.delete_branch(ann, repo, there)
        await refs.create_branch(ann, repo, new)
    listed = await refs.list(ann, repo)
    assert [name for name, _, _ in listed.tags] == [there]
    assert {name for name, _, _ in listed.branches} == {"main", new}


async def test_names_that_only_look_like_folders_are_no_clash(hub: Hub) -> None:
    """`ab` and `a-b` are beside `a`, wildcards of SQL are letters."""
    repo = await hub.repo()
    for name in ("a", "ab", "a-b", "a.b", "a0", "x_y", "x%", "xzy/w"):
        await hub.app.refs.create_branch(hub.ann, repo, name)
    assert len((await hub.app.refs.list(hub.ann, repo)).branches) == 9


async def test_a_tag_with_a_message_is_an_annotated_one(hub: Hub) -> None:
    """The ref leads through a tag object to the commit, which is what every list shows."""
    repo = await hub.repo()
    commit = await hub.app.refs.create_tag(hub.ann, repo, "v1", "main", "  The first.\n\nWith a body.\n")
    await hub.app.refs.create_tag(hub.ann, repo, "v2", "main", " ")
    annotated = await repos.annotated_tags(hub.app.db, repo.id)
    assert list(annotated) == ["refs/tags/v1"]
    kind, data = await objects.find_object(hub.app.db, annotated["refs/tags/v1"]) or ("", b"")
    assert (kind, object_oid("tag", data)) == ("tag", annotated["refs/tags/v1"])
    tag = parse_tag(data)
    assert (tag.target, tag.kind, tag.name) == (commit, "commit", "v1")
    assert tag.message == "The first.\n\nWith a body.\n"
    assert tag.tagger is not None
    assert tag.tagger.name == "ann"
    assert [named[2] for named in (await hub.app.refs.list(hub.ann, repo)).tags] == [commit, commit]


@pytest.mark.parametrize("message", ["a\0b", "\ud800", "x" * 65_537])
async def test_messages_that_no_tag_holds(hub: Hub, message: str) -> None:
    """They are refused, and there is no tag."""
    repo = await hub.repo()
    with pytest.raises(Invalid):
        await hub.app.refs.create_tag(hub.ann, repo, "v1", "main", message)
    assert (await hub.app.refs.list(hub.ann, repo)).tags == []
