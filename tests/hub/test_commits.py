"""Commits: what a plan does to a repo, what is refused, and that nobody's work is lost."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest

from hubreg.errors import (
    Conflict,
    Damaged,
    EntryNotFound,
    Invalid,
    Moved,
    Refused,
    RepoHidden,
    RepoNotFound,
    RevisionNotFound,
    TooLarge,
)
from hubreg.formats import chain, gitattributes
from hubreg.formats.commitlines import Candidate, Preupload
from hubreg.formats.gitobjects import object_oid
from hubreg.model import AddLfs, CopyFile, DeleteFile, DeleteFolder, Sha256, TokenRole
from hubreg.store import log, repos
from hubreg.store.repos import Repo
from tests.hub.conftest import Hub, add, lines

pytestmark = pytest.mark.anyio


async def test_a_commit_adds_changes_and_deletes(hub: Hub) -> None:
    """The operations of one commit are applied in the order in which they are listed."""
    repo = await hub.repo()
    await hub.commit(repo, add("a.txt", "1"), add("dir/b.txt", "2"), add("dir/sub/c.txt", "3"))
    await hub.commit(
        repo, add("a.txt", "one"), DeleteFile("dir/b.txt"), DeleteFolder("dir/sub"), add("dir", "4")
    )
    assert await hub.tree(repo) == [".gitattributes", "a.txt", "dir"]
    assert await hub.content(repo, "a.txt") == b"one"


async def test_a_delete_of_a_folder_by_file_line_takes_the_folder(hub: Hub) -> None:
    """`deletedFile` of a folder deletes all of it, as clients expect."""
    repo = await hub.repo()
    await hub.commit(repo, add("dir/b.txt"), add("dir/sub/c.txt"))
    await hub.commit(repo, DeleteFile("dir"))
    assert await hub.tree(repo) == [".gitattributes"]


async def test_deleting_what_is_absent_is_refused_and_changes_nothing(hub: Hub) -> None:
    """The refusal names the problem in the Hub's words; the other operations of the commit are not done either."""
    repo = await hub.repo()
    with pytest.raises(EntryNotFound, match="A file with this name doesn't exist"):
        await hub.commit(repo, add("new.txt"), DeleteFile("absent.txt"))
    assert await hub.tree(repo) == [".gitattributes"]


async def test_a_large_file_is_committed_by_its_digest(hub: Hub) -> None:
    """The tree holds git's pointer; size and etag are the content's."""
    repo = await hub.repo()
    digest = await hub.large(repo, b"weights" * 1000)
    await hub.commit(repo, AddLfs("model.safetensors", digest, 7000))
    snapshot = await hub.app.snapshots.at(repo, "main")
    entry = await hub.app.snapshots.entry(snapshot, "model.safetensors")
    assert (entry.lfs, entry.size, entry.etag) == (True, 7000, digest)
    assert b"oid sha256:" + digest.encode() in await hub.content(repo, "model.safetensors")


async def test_a_large_file_that_never_came_is_refused(hub: Hub) -> None:
    """Knowing the digest of another repo's file is not enough either."""
    repo, other = await hub.repo(), await hub.repo("other")
    digest = await hub.large(other, b"private weights")
    with pytest.raises(Invalid, match="an LFS pointer pointed to a file that does not exist"):
        await hub.commit(repo, AddLfs("model.bin", digest, None))
    with pytest.raises(Invalid, match=r"Offending file: - model\.bin"):
        await hub.commit(repo, AddLfs("model.bin", Sha256("0" * 64), 5))
    assert (await hub.again(repo)).head == repo.head
    await hub.large(repo, b"private weights")
    await hub.commit(repo, AddLfs("model.bin", digest, None))
    assert digest.encode() in await hub.content(repo, "model.bin")


async def test_a_large_file_of_another_size_is_refused(hub: Hub) -> None:
    """The size in the commit must be the content's; a commit without a size takes the content's."""
    repo = await hub.repo()
    digest = await hub.large(repo, b"12345")
    with pytest.raises(Invalid, match="5 bytes, not 6"):
        await hub.commit(repo, AddLfs("model.bin", digest, 6))
    assert await hub.tree(repo) == [".gitattributes"]
    await hub.commit(repo, AddLfs("model.bin", digest, None))
    entry = await hub.app.snapshots.entry(await hub.app.snapshots.at(repo, "main"), "model.bin")
    assert (entry.sha256, entry.size) == (digest, 5)


async def test_gitattributes_grow_with_large_files_that_no_rule_covers(hub: Hub) -> None:
    """A git client would take the pointer for the file otherwise."""
    repo = await hub.repo()
    digest = await hub.large(repo, b"tokens")
    await hub.commit(repo, AddLfs("data/a file.json", digest, None), AddLfs("model.bin", digest, None))
    attributes = gitattributes.Attributes((await hub.content(repo, ".gitattributes")).decode())
    assert attributes.is_lfs("data/a file.json")
    assert not attributes.is_lfs("other.json")
    assert (await hub.content(repo, ".gitattributes")).decode().startswith(gitattributes.DEFAULT)
    assert (await hub.content(repo, ".gitattributes")).count(b"\n") == gitattributes.DEFAULT.count("\n") + 1


async def test_copies_take_what_the_source_holds(hub: Hub) -> None:
    """A copy is the same object under another path, from this commit's parent or another revision."""
    repo = await hub.repo()
    first = await hub.commit(repo, add("a.txt", "old"))
    await hub.commit(repo, add("a.txt", "new"))
    await hub.commit(repo, CopyFile("b.txt", "a.txt"), CopyFile("c.txt", "a.txt", first.id))
    assert (await hub.content(repo, "b.txt"), await hub.content(repo, "c.txt")) == (b"new", b"old")
    with pytest.raises(EntryNotFound):
        await hub.commit(repo, CopyFile("d.txt", "absent"))


async def test_a_stale_parent_is_told_to_refresh(hub: Hub) -> None:
    """Who names a parent commits on it or not at all; abbreviated ids are accepted."""
    repo = await hub.repo()
    first = await hub.commit(repo, add("a.txt", "1"))
    await hub.commit(repo, add("a.txt", "2"), parent=first.id[:7])
    with pytest.raises(Moved, match="The branch was updated since you opened this page"):
        await hub.commit(repo, add("a.txt", "3"), parent=first.id)
    assert await hub.content(repo, "a.txt") == b"2"


async def test_racing_commits_are_all_there(hub: Hub) -> None:
    """Writers that name no parent are put one after the other; none is lost."""
    repo = await hub.repo()
    await asyncio.gather(*[hub.commit(repo, add(f"file{n}.txt", str(n))) for n in range(12)])
    assert len(await hub.tree(repo)) == 13
    history, total = await hub.app.history.commits(hub.ann, repo, "main")
    assert total == len(history) == 13


async def test_of_racing_commits_on_one_parent_one_wins(hub: Hub) -> None:
    """The losers are told, and have changed nothing."""
    repo = await hub.repo()
    base = (await hub.again(repo)).head
    results = await asyncio.gather(
        *[hub.commit(repo, add(f"file{n}.txt"), parent=base) for n in range(5)], return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Committed"] + ["Moved"] * 4
    assert len(await hub.tree(repo)) == 2


async def test_an_empty_commit_is_a_commit(hub: Hub) -> None:
    """A commit that changes no file moves the branch, keeps the tree and every file's last commit."""
    repo = await hub.repo()
    first = await hub.commit(repo, add("a.txt"))
    again = await hub.commit(repo, add("a.txt"))
    assert again.id != first.id
    snapshot = await hub.app.snapshots.at(repo, "main")
    entry = await hub.app.snapshots.entry(snapshot, "a.txt")
    assert (await hub.app.snapshots.last_commits(snapshot, [entry]))["a.txt"].id == first.id


@pytest.mark.parametrize("revision", ["absent", "v1", "HEAD~1", "refs/tags/v1", "refs/pr/7", ""])
async def test_commits_go_to_branches_only(hub: Hub, revision: str) -> None:
    """A tag, a commit id or a name that does not exist is no place to commit to."""
    repo = await hub.repo()
    await hub.app.refs.create_tag(hub.ann, repo, "v1", "main")
    with pytest.raises(RevisionNotFound):
        await hub.commit(repo, add("a.txt"), revision=revision)
    with pytest.raises(RevisionNotFound):
        await hub.commit(repo, add("a.txt"), revision=(await hub.again(repo)).head)
    assert {commit for _, commit in await repos.refs(hub.app.db, repo.id)} == {repo.head}


async def test_a_file_below_a_file_is_refused(hub: Hub) -> None:
    """A path cannot be a file and a folder."""
    repo = await hub.repo()
    await hub.commit(repo, add("a"))
    with pytest.raises(Invalid):
        await hub.commit(repo, add("a/b"))
    with pytest.raises(Invalid):
        await hub.commit(repo, add("c/d"), add("c"))
    assert await hub.tree(repo) == [".gitattributes", "a"]


async def test_strangers_and_readers_cannot_commit(hub: Hub) -> None:
    """Not to a public repo, and of a private one they are told that there is none."""
    public, private = await hub.repo(), await hub.repo("secret", private=True)
    reader = replace(hub.ann, token_role=TokenRole.READ)
    for actor, repo, refusal in [
        (hub.bob, public, Refused),
        (hub.bob, private, RepoNotFound),
        (hub.eve, private, RepoHidden),
        (reader, public, Refused),
    ]:
        with pytest.raises(refusal):
            await hub.app.commits.commit(actor, repo, "main", lines(add("a.txt")))
    assert await hub.tree(public) == [".gitattributes"]


async def test_a_stranger_proposes(hub: Hub) -> None:
    """Anybody who may read opens a pull request, and goes on pushing to it; `main` stays."""
    repo = await hub.repo()
    made = await hub.app.commits.commit(hub.bob, repo, "main", lines(add("a.txt", "1")), propose=True)
    assert made.pull == 1
    await hub.app.commits.commit(hub.bob, repo, "refs/pr/1", lines(add("b.txt")))
    assert await hub.tree(repo, "refs/pr/1") == [".gitattributes", "a.txt", "b.txt"]
    assert await hub.tree(repo) == [".gitattributes"]
    again = await hub.app.commits.commit(hub.ann, repo, "main", lines(add("c.txt")), propose=True)
    assert again.pull == 2
    with pytest.raises(Refused):
        await hub.app.commits.commit(hub.bob, repo, "refs/pr/2", lines(add("d.txt")))


async def test_a_proposal_may_start_from_an_older_commit(hub: Hub) -> None:
    """With `create_pr` the parent is what the pull request is built on, not a condition."""
    repo = await hub.repo()
    base = (await hub.again(repo)).head
    await hub.commit(repo, add("later.txt"))
    await hub.app.commits.commit(hub.bob, repo, "main", lines(add("a.txt"), parent=base), propose=True)
    assert await hub.tree(repo, "refs/pr/1") == [".gitattributes", "a.txt"]


async def test_preupload_decides_by_attributes_size_and_sample(hub: Hub) -> None:
    """What each file is sent as, whether it is ignored, and what its path holds now."""
    repo = await hub.repo()
    await hub.commit(repo, add("same.txt", "x"), add(".gitignore", "*.log\n"))
    asked = [
        ("model.safetensors", 10, b"text"),
        ("notes.txt", 10, b"text"),
        ("picture", 10, b"\x89PNG\0"),
        ("huge.txt", 11 << 20, b"text"),
        ("empty.bin", 0, b""),
        ("a.log", 1, b"x"),
        ("same.txt", 1, b"x"),
    ]
    wanted = Preupload(tuple(Candidate(*a) for a in asked), None, None)
    commit, decisions = await hub.app.commits.preupload(hub.ann, repo, "main", wanted)
    assert commit == (await hub.again(repo)).head
    assert [(d.path, d.lfs, d.ignore) for d in decisions] == [
        ("model.safetensors", True, False),
        ("notes.txt", False, False),
        ("picture", True, False),
        ("huge.txt", True, False),
        ("empty.bin", False, False),
        ("a.log", False, True),
        ("same.txt", False, False),
    ]
    assert decisions[-1].oid == object_oid("blob", b"x")
    assert decisions[0].oid is None


async def test_preupload_takes_the_attributes_that_come_with_it(hub: Hub) -> None:
    """A commit that brings its own .gitattributes and .gitignore is judged by those."""
    repo = await hub.repo()
    wanted = Preupload(
        (Candidate("a.txt", 5, b"text"), Candidate("b.bin", 5, b"text")), "*.txt filter=lfs", "*.bin"
    )
    _, decisions = await hub.app.commits.preupload(hub.ann, repo, "main", wanted)
    assert [(d.lfs, d.ignore) for d in decisions] == [(True, False), (False, True)]


async def test_squash_leaves_one_commit_with_the_same_files(hub: Hub) -> None:
    """Other refs keep their history."""
    repo = await hub.repo()
    await hub.commit(repo, add("a.txt", "1"), add("dir/b.txt", "1"))
    await hub.app.refs.create_branch(hub.ann, repo, "kept")
    await hub.commit(repo, add("a.txt", "2"))
    before = await hub.tree(repo)
    made = await hub.app.commits.squash(hub.ann, repo, "main", "one")
    assert await hub.tree(repo) == before
    history, total = await hub.app.history.commits(hub.ann, repo, "main")
    assert (total, [commit.id for commit in history], history[0].title) == (1, [made], "one")
    assert (await hub.app.history.commits(hub.ann, repo, "kept"))[1] == 2
    snapshot = await hub.app.snapshots.at(repo, "main")
    entries = await hub.app.snapshots.entries(snapshot, ["dir/b.txt"])
    assert (await hub.app.snapshots.last_commits(snapshot, entries))["dir/b.txt"].id == made


async def test_revert_undoes_one_commit(hub: Hub) -> None:
    """What came after it stays."""
    repo = await hub.repo()
    await hub.commit(repo, add("a.txt", "1"), add("b.txt", "1"))
    bad = await hub.commit(repo, add("a.txt", "2"), add("new.txt"), DeleteFile("b.txt"), summary="bad idea")
    await hub.commit(repo, add("c.txt"))
    await hub.app.commits.revert(hub.ann, repo, "main", bad.id)
    assert await hub.tree(repo) == [".gitattributes", "a.txt", "b.txt", "c.txt"]
    assert await hub.content(repo, "a.txt") == b"1"
    history, _ = await hub.app.history.commits(hub.ann, repo, "main")
    assert history[0].title == 'Revert "bad idea"'
    assert bad.id in history[0].message


async def test_revert_refuses_to_lose_later_work(hub: Hub) -> None:
    """Files that changed again since are named, and nothing is changed."""
    repo = await hub.repo()
    bad = await hub.commit(repo, add("a.txt", "2"))
    await hub.commit(repo, add("a.txt", "3"))
    with pytest.raises(Conflict, match=r"a\.txt"):
        await hub.app.commits.revert(hub.ann, repo, "main", bad.id)
    assert await hub.content(repo, "a.txt") == b"3"


async def test_compare_lists_files_and_prints_a_diff(hub: Hub) -> None:
    """Renames are a deletion and an addition; large files are compared by their pointers."""
    repo = await hub.repo()
    first = await hub.commit(repo, add("a.txt", "one\ntwo\n"), add("gone.txt", "x\n"))
    digest = await hub.large(repo, b"weights")
    await hub.commit(repo, add("a.txt", "one\n2\n"), DeleteFile("gone.txt"), AddLfs("m.bin", digest, None))
    compared = await hub.app.history.compare(hub.ann, repo, first.id, "main")
    assert [(c.path, c.old is None, c.new is None) for c in compared.changes] == [
        ("a.txt", False, False),
        ("gone.txt", False, True),
        ("m.bin", True, False),
    ]
    text = await hub.app.history.compare_text(hub.ann, repo, first.id, "main")
    assert "-two\n+2\n" in text
    assert f"+oid sha256:{digest}" in text


async def test_what_lists_show_is_read_off_main(hub: Hub) -> None:
    """The card and the configuration decide tags, task and library, of `main` only."""
    repo = await hub.repo()
    card = "---\nlicense: mit\npipeline_tag: text-generation\nlibrary_name: transformers\ntags: [tiny]\n---\n# hi\n"
    await hub.commit(repo, add("README.md", card), add("config.json", '{"model_type": "llama"}'))
    now = await hub.again(repo)
    assert (now.pipeline_tag, now.library) == ("text-generation", "transformers")
    tags = (await hub.app.repos.tags([now]))[repo.id]
    assert {"license:mit", "tiny", "transformers"} <= set(tags)
    await hub.app.refs.create_branch(hub.ann, repo, "other")
    await hub.commit(repo, add("README.md", "---\nlicense: apache-2.0\n---\n"), revision="other")
    assert (await hub.app.repos.tags([now]))[repo.id] == tags


async def test_every_change_is_in_the_log(hub: Hub) -> None:
    """The chain verifies, and says who moved which ref from where to where."""
    repo = await hub.repo()
    made = await hub.commit(repo, add("a.txt"))
    links = await log.read(hub.app.db, 0, 100)
    assert [link.serial for link in chain.verify(links)] == list(range(1, len(links) + 1))
    last = links[-1].body.decode()
    assert made.id in last
    assert '"repo:ref:move"' in last
    assert '"ann"' in last


async def test_last_commits_follow_each_path(hub: Hub) -> None:
    """Through folders, edits, deletions and other branches, each path is told the commit that last changed it."""
    repo = await hub.repo()
    first = (await hub.commit(repo, add("a.txt", "1"), add("d/b.txt", "1"), add("d/e/c.txt", "1"))).id
    second = (await hub.commit(repo, add("d/e/c.txt", "2"))).id
    third = (await hub.commit(repo, add("d/b.txt", "2"), DeleteFile("a.txt"))).id
    snapshot = await hub.app.snapshots.at(repo, "main")
    entries, _ = await hub.app.snapshots.page(snapshot, "", recursive=True)
    last = {
        path: commit.id for path, commit in (await hub.app.snapshots.last_commits(snapshot, entries)).items()
    }
    assert last == {
        "d": third,
        "d/e": second,
        "d/e/c.txt": second,
        "d/b.txt": third,
        ".gitattributes": (await hub.app.history.commits(hub.ann, repo, first))[0][1].id,
    }


async def covers(hub: Hub, repo: Repo, *paths: str, revision: str = "main") -> list[bool]:
    """Whether the `.gitattributes` of a revision make large files of these paths."""
    text = (await hub.content(repo, ".gitattributes", revision)).decode()
    return [gitattributes.Attributes(text).is_lfs(path) for path in paths]


async def test_large_files_are_covered_by_what_the_commit_leaves(hub: Hub) -> None:
    """The rules that count are those after the commit: deleted, put, or copied from elsewhere with it."""
    repo = await hub.repo()
    digest = await hub.large(repo, b"weights")
    await hub.commit(repo, AddLfs("a.bin", digest, None), DeleteFile(".gitattributes"))
    assert await covers(hub, repo, "a.bin", "b.bin") == [True, False]
    await hub.commit(repo, add("rules", "*.txt filter=lfs\n"))
    await hub.commit(repo, AddLfs("b.bin", digest, None), CopyFile(".gitattributes", "rules"))
    assert await covers(hub, repo, "a.bin", "b.bin", "c.txt") == [False, True, True]
    await hub.commit(repo, add(".gitattributes", "*.pt filter=lfs"), AddLfs("c.pt", digest, None))
    assert await hub.content(repo, ".gitattributes") == b"*.pt filter=lfs"


async def test_a_copy_of_a_large_file_is_covered(hub: Hub) -> None:
    """Under a name that no rule knows it would be its pointer to a git client."""
    repo = await hub.repo()
    digest = await hub.large(repo, b"weights")
    await hub.commit(repo, AddLfs("a.bin", digest, None), add("b.txt"))
    await hub.commit(repo, CopyFile("weights", "a.bin"), CopyFile("c.txt", "b.txt"))
    assert await covers(hub, repo, "weights", "c.txt") == [True, False]


async def test_a_revert_and_a_merge_cover_what_they_bring(hub: Hub) -> None:
    """The rule may have gone since."""
    repo = await hub.repo()
    digest = await hub.large(repo, b"weights")
    await hub.commit(repo, AddLfs("a.bin", digest, None))
    gone = await hub.commit(repo, DeleteFile("a.bin"))
    made = await hub.app.commits.commit(
        hub.bob, repo, "main", lines(AddLfs("b.bin", digest, None)), propose=True
    )
    await hub.commit(repo, add(".gitattributes", ""))
    await hub.app.commits.revert(hub.ann, repo, "main", gone.id)
    assert await covers(hub, repo, "a.bin", "b.bin") == [True, False]
    await hub.app.discussions.merge(hub.ann, repo, made.pull or 0)
    assert await covers(hub, repo, "a.bin", "b.bin") == [True, True]


async def test_attributes_that_are_no_small_text_are_left_alone(hub: Hub) -> None:
    """What is over a megabyte, or itself a large file, is not replaced by one rule."""
    repo = await hub.repo()
    digest = await hub.large(repo, b"weights")
    long = b"# " + b"x" * (1 << 20)
    await hub.commit(repo, add(".gitattributes", long), AddLfs("a", digest, None))
    assert await hub.content(repo, ".gitattributes") == long
    await hub.commit(repo, AddLfs(".gitattributes", digest, None), AddLfs("b", digest, None))
    assert digest.encode() in await hub.content(repo, ".gitattributes")


@pytest.mark.parametrize("rules", ["gitattributes", "gitignore"])
async def test_preupload_tries_no_more_patterns_than_is_bearable(hub: Hub, rules: str) -> None:
    """What would take minutes is refused with a sentence; what real repos have is answered."""
    repo = await hub.repo()
    hostile = "".join(f"/**/*{n}? filter=lfs\n" for n in range(1000))
    deep = tuple(Candidate(f"{n}/" + "a/" * 498 + "b", 5, b"text") for n in range(1000))
    with pytest.raises(TooLarge, match="too many for so many files"):
        await hub.app.commits.preupload(hub.ann, repo, "main", Preupload(deep, **{rules: hostile}))
    real = "".join(f"**/dir{n}/*.lo? filter=lfs\n" for n in range(100))
    files = tuple(Candidate(f"some/dir{n % 100}/file{n}.log", 5, b"text") for n in range(1000))
    asked = Preupload(files, **{rules: real.replace(" filter=lfs", "") if rules == "gitignore" else real})
    _, decisions = await hub.app.commits.preupload(hub.ann, repo, "main", asked)
    assert [d.ignore if rules == "gitignore" else d.lfs for d in decisions] == [True] * 1000


async def test_a_refused_commit_stores_nothing(hub: Hub) -> None:
    """What can be told from its header, and from its list, is told before its files are kept."""
    repo = await hub.repo()
    stale = repo.head
    await hub.commit(repo, add("a.txt", "1"))
    content = b"x" * (9 << 20)  # more than one batch
    with pytest.raises(Moved):
        await hub.commit(repo, add("b.txt", content), add("c.txt", "small"), parent=stale)
    with pytest.raises(Invalid, match="Offending file: - m"):
        await hub.commit(repo, add("c.txt", "small"), AddLfs("m", Sha256("0" * 64), 1))
    for refused in (content, b"small"):
        assert await hub.app.blobs.size(Sha256(hashlib.sha256(refused).hexdigest())) is None


@pytest.mark.parametrize(
    ("summary", "title"),
    [
        ("Fix", "Fix"),
        ("  two\nlines\t\x1b[31m ", "two lines [31m"),
        ("x" * 300, "x" * 200),
        ("y" * 199 + " z", "y" * 199),
        ("\x07", "Update"),
    ],
)
async def test_the_title_of_a_pull_request_fits_on_a_line(hub: Hub, summary: str, title: str) -> None:
    """It comes from the commit's summary, which may be anything; the commit keeps all of it."""
    repo = await hub.repo()
    taken = lines(add("a.txt"), summary=summary)
    made = await hub.app.commits.commit(hub.bob, repo, "main", taken, propose=True)
    [thread] = (await hub.app.discussions.page(hub.ann, repo)).threads
    assert thread.row.title == title
    [commit, *_], _ = await hub.app.history.commits(hub.ann, repo, made.id)
    assert commit.title == " ".join(summary.split())


async def test_a_squash_may_have_a_message_of_500_characters(hub: Hub) -> None:
    """As on the Hub."""
    repo = await hub.repo()
    with pytest.raises(Invalid, match="may have 500 characters"):
        await hub.app.commits.squash(hub.ann, repo, "main", "x" * 501)
    made = await hub.app.commits.squash(hub.ann, repo, "main", "x" * 500)
    assert (await hub.app.history.commits(hub.ann, repo, made))[0][0].title == "x" * 500


async def test_a_diff_is_made_once(hub: Hub) -> None:
    """Trees never change, so neither does what lies between two of them: the content is not read again."""
    repo = await hub.repo()
    first = await hub.commit(repo, add("a.txt", "one\n"))
    await hub.commit(repo, add("a.txt", "two\n"))
    text = await hub.app.history.compare_text(hub.eve, repo, first.id, "main")
    await hub.app.blobs.delete(Sha256(hashlib.sha256(b"two\n").hexdigest()))
    assert await hub.app.history.compare_text(hub.ann, repo, first.id, "main") == text
    assert "-one\n+two\n" in text
    with pytest.raises(Damaged):
        await hub.app.history.compare_text(hub.ann, repo, "main", first.id)


async def test_what_is_too_much_for_a_diff_is_not_read(hub: Hub) -> None:
    """Anybody may ask for one. The list of files is there still."""
    repo = await hub.repo()
    few = [add(f"f{n}", b"%d" % n + b"x" * 999_990) for n in range(16)]
    first = await hub.commit(repo, *few)
    assert len(await hub.app.history.compare_text(hub.eve, repo, repo.head, first.id)) > 15_000_000
    await hub.commit(repo, add("g", b"g" * 999_990))
    with pytest.raises(TooLarge, match="too large for a diff"):
        await hub.app.history.compare_text(hub.eve, repo, repo.head, "main")
    assert len((await hub.app.history.compare(hub.eve, repo, repo.head, "main")).changes) == 17
    row, text = await hub.app.history.commit(hub.eve, repo, "main")
    assert (row.title, text.startswith("diff --git a/g b/g")) == ("a change", True)
