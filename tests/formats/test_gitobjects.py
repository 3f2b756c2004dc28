"""Git's objects, with C git as the judge of bytes and a dictionary of paths as the judge of work on trees."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubreg.errors import Damaged, EntryNotFound, HubregError, Invalid, TooLarge
from hubreg.formats.gitobjects import (
    COMMIT_HEAD,
    EMPTY_TREE,
    EXECUTABLE,
    FILE,
    FOLDER,
    LINK,
    SUBMODULE,
    BlobHash,
    Change,
    Edited,
    Folder,
    GitTag,
    Put,
    Remove,
    TreeEntry,
    changed_folders,
    diff,
    edit,
    object_oid,
    parse_commit,
    parse_tag,
    parse_tree,
    render_commit,
    render_tag,
    render_tree,
)
from hubreg.hub.ancestry import parse_node
from hubreg.model import CommitId, GitCommit, Oid, Signature

T = TypeVar("T")
Files = dict[str, tuple[int, Oid]]

BLOBS = [b"", b"one", b"two\n"]
OIDS = [object_oid("blob", content) for content in BLOBS]
ONE, TWO = OIDS[1], OIDS[2]
few_with_git = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Trees(dict[Oid, bytes]):
    """Trees by oid, with a list of those that were asked for."""

    def __init__(self, trees: Mapping[Oid, bytes] = {}) -> None:
        super().__init__(trees)
        self.loaded: list[Oid] = []

    def drive(self, work: Generator[Oid, tuple[TreeEntry, ...], T]) -> T:
        try:
            wanted = next(work)
            while True:
                self.loaded.append(wanted)
                wanted = work.send(parse_tree(self[wanted]))
        except StopIteration as done:
            result: T = done.value
            return result

    def edit(self, root: Oid, edits: Sequence[Put | Remove]) -> Edited:
        """Apply the edits and keep the trees they make."""
        edited = self.drive(edit(root, edits))
        self.update(edited.trees)
        return edited

    def make(self, files: Files) -> Oid:
        return self.edit(EMPTY_TREE, [Put(path, oid, mode) for path, (mode, oid) in files.items()]).root

    def files(self, root: Oid, path: str = "") -> Files:
        """Every file below a tree, found by plain recursion."""
        found: Files = {}
        for entry in parse_tree(self[root]) if root != EMPTY_TREE else ():
            below = path + entry.name
            found |= self.files(entry.oid, below + "/") if entry.mode == FOLDER else {below: entry[1:]}
        return found

    def below(self, root: Oid) -> set[Oid]:
        """A tree and all trees in it."""
        entries = parse_tree(self[root]) if root != EMPTY_TREE else ()
        return {root}.union(*[self.below(entry.oid) for entry in entries if entry.mode == FOLDER])


class Git:
    """A repository of C git in a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run("init", "-q", "-b", "main")
        for content in BLOBS:
            self.keep("blob", content)
        self.keep("tree", b"")

    def run(self, *arguments: str, data: bytes = b"") -> bytes:
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, input=data, capture_output=True, check=False
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def keep(self, kind: str, data: bytes) -> Oid:
        """Write a loose object as it is, without git looking at it."""
        oid = object_oid(kind, data)
        path = self.path / ".git/objects" / oid[:2] / oid[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(b"%b %d\0%b" % (kind.encode(), len(data), data)))
        return oid


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> Git:
    return Git(tmp_path_factory.mktemp("git"))


# --- what there is to try ---

# Odd sorting (`a` and the folder `a` around `a.b`), spaces, unicode on both sides of the surrogates, and plain text.
segments = st.sampled_from(
    ["a", "a.b", "a-b", "a0", "b", "B", "x y", "é", "\uff5e", "\U0001f600", "a\\b", '"q"']
)
names = st.one_of(
    segments,
    st.text(min_size=1, max_size=6),
    st.binary(min_size=1, max_size=6).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
).filter(lambda name: not set("/\0\ud800") & set(name) and name not in (".", "..") and encodes(name))
entries = st.one_of(
    st.builds(TreeEntry, names, st.sampled_from([FILE, EXECUTABLE, LINK]), st.sampled_from(OIDS)),
    st.builds(TreeEntry, names, st.just(FOLDER), st.just(EMPTY_TREE)),
    st.builds(TreeEntry, names, st.just(SUBMODULE), st.just(Oid("1" * 40))),
)
folders_of_entries = st.lists(entries, max_size=12, unique_by=lambda entry: entry.name)

paths = st.lists(segments, min_size=1, max_size=3).map("/".join)
puts = st.builds(Put, paths, st.sampled_from(OIDS), st.sampled_from([FILE, EXECUTABLE, LINK]))
edits = st.lists(puts | puts | st.builds(Remove, paths, st.booleans()), max_size=12)

words = st.text(st.characters(codec="utf-8", exclude_characters="<>\n\0"), max_size=12)
signatures = st.builds(Signature, words, words, st.integers(0, 2**40))
messages = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
commits = st.builds(GitCommit, st.just(EMPTY_TREE), st.just(()), signatures, signatures, messages)


def encodes(name: str) -> bool:
    """Whether the name stands for bytes, and for these bytes alone (a surrogate escape of good UTF-8 does not)."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == name
    except UnicodeEncodeError:
        return False


def apply(files: Files, step: Put | Remove) -> Files | type[HubregError]:
    """What one edit makes of a dictionary of files, or how it fails."""
    parents = {step.path[:at] for at, character in enumerate(step.path) if character == "/"}
    inside = {path for path in files if path.startswith(step.path + "/")}
    if isinstance(step, Put):
        return Invalid if inside or parents & files.keys() else files | {step.path: (step.mode, step.oid)}
    gone = inside if step.folder else inside | {step.path} & files.keys()
    return {path: file for path, file in files.items() if path not in gone} if gone else EntryNotFound


# --- names of objects ---


@few_with_git
@given(st.binary(max_size=200))
def test_git_gives_content_the_same_name(git: Git, content: bytes) -> None:
    """Whatever the bytes are, `git hash-object` and `object_oid` agree."""
    assert object_oid("blob", content) == git.run("hash-object", "--stdin", data=content).decode().strip()


@given(st.lists(st.binary(max_size=20)))
def test_content_in_pieces_has_the_name_of_the_whole(pieces: list[bytes]) -> None:
    """`BlobHash` takes pieces of any size and of every bytes-like type."""
    hashed = BlobHash(sum(map(len, pieces)))
    for piece in pieces:
        hashed.update(memoryview(piece))
    assert hashed.oid() == object_oid("blob", b"".join(pieces))


@pytest.mark.parametrize("size", [0, 2, 4])
def test_pieces_must_add_up_to_the_size(size: int) -> None:
    """A name for another size than the announced one would be the name of nothing."""
    hashed = BlobHash(size)
    hashed.update(b"one")
    with pytest.raises(Damaged, match="size"):
        hashed.oid()


# --- trees ---


@few_with_git
@given(folders_of_entries)
def test_git_makes_the_same_tree(git: Git, folder: list[TreeEntry]) -> None:
    """`git mktree` sorts and writes any entries as `render_tree` does, and `parse_tree` reads them in that order."""
    kinds = {FOLDER: "tree", SUBMODULE: "commit"}
    lines = [f"{e.mode:o} {kinds.get(e.mode, 'blob')} {e.oid}\t{e.name}\0" for e in folder]
    made = git.run("mktree", "-z", "--missing", data="".join(lines).encode("utf-8", "surrogateescape"))
    data = render_tree(folder)
    assert object_oid("tree", data) == made.decode().strip()
    assert set(parse_tree(data)) == set(folder)
    assert git.run("cat-file", "tree", made.decode().strip()) == data


def test_a_folder_sorts_as_if_its_name_ended_in_a_slash() -> None:
    """`a.b` and `a-b` stand before the folder `a` and behind the file `a`; `a0` stands behind both."""
    files = [TreeEntry(name, FILE, ONE) for name in ("a0", "a.b", "a-b")]
    for mode, order in (FILE, ["a", "a-b", "a.b", "a0"]), (FOLDER, ["a-b", "a.b", "a", "a0"]):
        data = render_tree([*files, TreeEntry("a", mode, EMPTY_TREE)])
        assert [entry.name for entry in parse_tree(data)] == order


def test_the_empty_tree_has_its_well_known_name() -> None:
    """A tree without entries is no bytes, and `EMPTY_TREE` is its oid."""
    assert object_oid("tree", render_tree([])) == EMPTY_TREE
    assert parse_tree(b"") == ()


def line(name: bytes, mode: bytes = b"100644") -> bytes:
    return mode + b" " + name + b"\0" + bytes(20)


@pytest.mark.parametrize(
    "data",
    [
        line(b"a")[:-1],
        line(b"a") + b"1",
        b"100644 a",
        b"\0" * 20,
        line(b""),
        line(b"."),
        line(b".."),
        line(b"a/b"),
        line(b"b") + line(b"a"),
        line(b"a", b"40000") + line(b"a.b"),
        line(b"a") + line(b"a"),
        line(b"a") + line(b"a.b") + line(b"a", b"40000"),
        line(b"a", b"0100644"),
        line(b"a", b"040000"),
        line(b"a", b"100600"),
        line(b"a", b"0"),
        line(b"a", b""),
        line(b"a", b"+100644"),
        b" " + line(b"a"),
        line(b"a") + b"junk" + line(b"b"),
    ],
)
def test_what_is_no_tree_is_damaged(data: bytes) -> None:
    """Truncated, out of order, twice the same name, an unknown or padded mode, a name that is no name, junk between."""
    with pytest.raises(Damaged):
        parse_tree(data)


@given(folders_of_entries.map(render_tree), st.data())
@settings(deadline=None)
def test_altered_trees_are_damaged_or_another_tree(data: bytes, draw: st.DataObject) -> None:
    """One byte put in, left out or changed: refused, or read as exactly the bytes it is."""
    at = draw.draw(st.integers(0, len(data)))
    altered = data[:at] + draw.draw(st.binary(max_size=2)) + data[at + draw.draw(st.integers(0, 2)) :]
    try:
        found = parse_tree(altered)
    except Damaged:
        return
    assert render_tree(found) == altered


@given(st.binary(max_size=80))
def test_noise_is_damaged(data: bytes) -> None:
    """No parser answers noise with anything but `Damaged`; noise that is a tree has at least a mode and an oid."""
    for parse in (parse_commit, parse_tag) if len(data) < 24 else (parse_tree, parse_commit, parse_tag):
        with pytest.raises(Damaged):
            parse(data)


@pytest.mark.parametrize(
    "entries",
    [
        [TreeEntry("", FILE, ONE)],
        [TreeEntry("..", FILE, ONE)],
        [TreeEntry("a/b", FILE, ONE)],
        [TreeEntry("a\0b", FILE, ONE)],
        [TreeEntry("\ud800", FILE, ONE)],
        [TreeEntry("a", 0o100600, ONE)],
        [TreeEntry("a", FILE, Oid("12"))],
        [TreeEntry("a", FILE, Oid("g" * 40))],
        [TreeEntry("a", FILE, Oid(" ".join(["12"] * 13) + " 1"))],
        [TreeEntry("a", FILE, ONE), TreeEntry("a", FOLDER, EMPTY_TREE)],
    ],
)
def test_what_no_tree_can_hold_is_invalid(entries: list[TreeEntry]) -> None:
    """A name, mode or oid that git does not take is refused before it becomes bytes."""
    with pytest.raises(Invalid):
        render_tree(entries)


# --- commits and tags ---


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(commits, min_size=5, max_size=15))
def test_git_finds_no_fault_with_commits(
    tmp_path_factory: pytest.TempPathFactory, made: list[GitCommit]
) -> None:
    """A line of commits with any authors and messages passes `git fsck --strict`, and git reads the same message."""
    git = Git(tmp_path_factory.mktemp("git"))
    head: tuple[CommitId, ...] = ()
    for commit in made:
        data = render_commit(replace(commit, parents=head))
        head = (CommitId(git.keep("commit", data)),)
        assert parse_commit(data) == replace(commit, parents=head_of(data))
    git.run("update-ref", "refs/heads/main", head[0])
    assert git.run("fsck", "--strict", "--no-dangling") == b""
    raw = git.run("cat-file", "commit", "main")
    assert raw.partition(b"\n\n")[2].decode() == made[-1].message
    assert git.run("log", "--format=%at", "main").split() == [
        b"%d" % c.author.seconds for c in reversed(made)
    ]


def head_of(data: bytes) -> tuple[CommitId, ...]:
    return tuple(CommitId(row[7:].decode()) for row in data.split(b"\n")[:2] if row.startswith(b"parent "))


SOMEBODY = Signature("Some Body", "some@body.example", 1_700_000_000)
COMMIT = GitCommit(EMPTY_TREE, (CommitId(ONE), CommitId(TWO)), SOMEBODY, SOMEBODY, "Title\n\nBody\n")


def test_a_commit_of_other_hands_is_read_for_what_we_show() -> None:
    """Signatures, encodings, time zones and text that is not UTF-8 do not keep a commit from being read."""
    data = (
        b"tree %b\nauthor J\xf6rg <j@x> 1 +0530\ncommitter  <> -5 -0000\nencoding latin1\n"
        b"gpgsig -----BEGIN-----\n \n parent lines\n -----END-----\n\nGr\xfc\xdfe\n\nparent of all"
    ) % EMPTY_TREE.encode()
    found = parse_commit(data)
    assert found.author == Signature("J\ufffdrg", "j@x", 1)
    assert found.committer == Signature("", "", -5)
    assert (found.parents, found.message) == ((), "Gr\ufffd\ufffde\n\nparent of all")


def test_a_commit_cut_short_is_damaged() -> None:
    """A commit that ends anywhere above its message is refused."""
    data = render_commit(COMMIT)
    for cut in range(data.index(b"\n\n") + 1):
        with pytest.raises(Damaged):
            parse_commit(data[:cut])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"tree 4b", b"tree 4B"),
        (b"tree 4b", b"tree  4b"),
        (b"parent ", b"parent 0"),
        (b"author ", b"writer "),
        (b"<some@body.example> 1700000000", b"some@body.example 1700000000"),
        (b" 1700000000 ", b" " + b"9" * 5000 + b" "),
        (b" 1700000000 ", b" 0x10 "),
        (b" +0000", b" UTC"),
        (b"\ncommitter", b"\n committer"),
    ],
)
def test_a_commit_with_a_broken_line_is_damaged(old: bytes, new: bytes) -> None:
    """Each line that hubreg reads must be as git writes it."""
    with pytest.raises(Damaged):
        parse_commit(render_commit(COMMIT).replace(old, new))


@pytest.mark.parametrize(
    "commit",
    [
        replace(COMMIT, message="a\0b"),
        replace(COMMIT, message="\ud800"),
        replace(COMMIT, tree=Oid("main")),
        replace(COMMIT, parents=(CommitId(ONE + "\nauthor x"),)),
        replace(COMMIT, author=replace(SOMEBODY, name="a\nparent b")),
        replace(COMMIT, author=replace(SOMEBODY, name="a <b>")),
        replace(COMMIT, committer=replace(SOMEBODY, email="a>b")),
        replace(COMMIT, committer=replace(SOMEBODY, seconds=-1)),
    ],
)
def test_what_no_commit_can_hold_is_invalid(commit: GitCommit) -> None:
    """Nothing that a caller sends can add a line to a commit's head or make text that is not UTF-8."""
    with pytest.raises(Invalid):
        render_commit(commit)


def most(**parts: Any) -> GitCommit:
    """A commit as large as one may be, but for its message."""
    long = Signature("n" * 2000, "a" * 2000, 1_700_000_000)
    parents = tuple(CommitId(f"{n:040}") for n in range(256))
    return replace(GitCommit(EMPTY_TREE, parents, long, long, ""), **parts)


def test_the_largest_commit_and_tag() -> None:
    """A MiB of text and 256 parents; what the graph of commits is made of then still stands at the beginning."""
    data = render_commit(most())
    whole = data + b"m" * ((1 << 20) - len(data))
    assert len(parse_commit(whole).parents) == 256
    assert parse_node(whole[:COMMIT_HEAD]) == parse_node(whole)
    tag = GitTag(ONE, "commit", "v1", SOMEBODY, "")
    rest = (1 << 20) - len(render_tag(tag))
    assert len(parse_tag(render_tag(tag) + b"m" * rest).message) == rest
    for parse, large in ((parse_commit, whole), (parse_tag, render_tag(tag) + b"m" * rest)):
        with pytest.raises(TooLarge):
            parse(large + b"m")


@pytest.mark.parametrize(
    "commit",
    [
        most(parents=(CommitId(ONE),) * 257),
        most(author=Signature("n" * 5000, "", 1)),
        most(committer=Signature("", "a" * 5000, 1)),
    ],
)
def test_a_commit_with_a_head_that_is_too_large(commit: GitCommit) -> None:
    """Too many parents, also if they are all the same, or a name that is a novel."""
    with pytest.raises(TooLarge):
        parse_commit(render_commit(commit))


@few_with_git
@given(st.sampled_from([None, SOMEBODY]), st.text("ab-.1é", min_size=1), messages)
def test_tags_come_back_as_they_were(git: Git, tagger: Signature | None, name: str, message: str) -> None:
    """An annotated tag survives the way to bytes and back, with and without a tagger, and git calls it a tag."""
    tag = GitTag(ONE, "blob", name, tagger, message)
    assert parse_tag(render_tag(tag)) == tag
    assert git.run("cat-file", "-t", git.keep("tag", render_tag(tag))) == b"tag\n"


def test_git_finds_no_fault_with_a_tag(tmp_path: Path) -> None:
    """A tag of a commit, under its ref, passes `git fsck --strict`."""
    git = Git(tmp_path)
    target = git.keep("commit", render_commit(replace(COMMIT, parents=())))
    tag = git.keep("tag", render_tag(GitTag(target, "commit", "v1.0", SOMEBODY, "One\n")))
    git.run("update-ref", "refs/tags/v1.0", tag)
    assert git.run("fsck", "--strict", "--no-dangling") == b""
    assert git.run("rev-parse", "v1.0^{commit}").decode().strip() == target


@pytest.mark.parametrize("old", [b"object ", b"type ", b"tag "])
def test_a_tag_without_one_of_its_lines_is_damaged(old: bytes) -> None:
    """Object, type and name are all needed."""
    with pytest.raises(Damaged):
        parse_tag(render_tag(GitTag(ONE, "blob", "v1", SOMEBODY, "")).replace(old, b"other ", 1))


# --- edits ---


@given(edits, edits)
@settings(max_examples=300, deadline=None)
def test_edits_do_to_trees_what_they_do_to_a_dictionary(
    before: list[Put | Remove], steps: list[Put | Remove]
) -> None:
    """Any edits of any tree: the same files and refusals, the new trees and no others, the folders that changed."""
    files, trees = applied({}, before, Trees())
    old = trees.make(files)
    known = set(trees.below(old))
    expected, _ = applied(files, steps, trees, old)
    done = [step for step, ok in fitting(files, steps) if ok]
    edited = trees.edit(old, done)
    assert trees.files(edited.root) == expected
    assert edited.root == trees.make(expected)
    assert trees.below(edited.root) - known <= edited.trees.keys() <= trees.below(edited.root)
    assert edited.folders == trees.drive(changed_folders(old, edited.root))
    assert all(object_oid("tree", data) == oid for oid, data in edited.trees.items())


def fitting(files: Files, steps: Iterable[Put | Remove]) -> list[tuple[Put | Remove, bool]]:
    """Each step, and whether it can be done after those before it that could."""
    found = []
    for step in steps:
        after = apply(files, step)
        found.append((step, isinstance(after, dict)))
        files = after if isinstance(after, dict) else files
    return found


def applied(
    files: Files, steps: Sequence[Put | Remove], trees: Trees, root: Oid = EMPTY_TREE
) -> tuple[Files, Trees]:
    """The dictionary after all steps that fit; each that does not must fail on trees as it does there."""
    done: list[Put | Remove] = []
    for step in steps:
        after = apply(files, step)
        if isinstance(after, dict):
            files = after
            done.append(step)
        else:
            with pytest.raises(after):
                trees.edit(root, [*done, step])
    return files, trees


@pytest.mark.parametrize(
    ("step", "error", "sentence"),
    [
        (Put("docs", ONE), Invalid, '"docs" is a folder'),
        (Put("a.txt/b/c", ONE), Invalid, '"a.txt/b/c" cannot exist: "a.txt" in it is a file'),
        (Put("docs/x.md/y", ONE), Invalid, '"x.md" in it is a file'),
        (Put("sub/file", ONE), Invalid, '"sub" in it is a file'),
        (Put("new", EMPTY_TREE, FOLDER), Invalid, "not the mode of a file"),
        (Put("new", ONE, 0o777), Invalid, "not the mode of a file"),
        (Put("a//b", ONE), Invalid, "cannot hold"),
        (Put("docs/../b", ONE), Invalid, "cannot hold"),
        (Put("docs/\ud800", ONE), Invalid, "not UTF-8"),
        (Put("", ONE), Invalid, "cannot hold"),
        (Remove("none"), EntryNotFound, "A file with this name doesn't exist"),
        (Remove("none/none"), EntryNotFound, "A file with this name doesn't exist"),
        (Remove("a.txt/none"), EntryNotFound, "A file with this name doesn't exist"),
        (Remove("a.txt", folder=True), EntryNotFound, "A file with this name doesn't exist"),
        (Remove(""), EntryNotFound, "A file with this name doesn't exist"),
    ],
)
def test_edits_that_cannot_be_done_say_why(
    step: Put | Remove, error: type[HubregError], sentence: str
) -> None:
    """A file where a folder is, a path through a file, a mode that is none, something that is not there."""
    trees = Trees()
    root = trees.make({"a.txt": (FILE, ONE), "docs/x.md": (FILE, ONE), "sub": (SUBMODULE, ONE)})
    with pytest.raises(error) as refused:
        trees.edit(root, [step])
    assert sentence in refused.value.message


def test_edits_are_applied_in_order() -> None:
    """A path that was freed may be taken in the same commit, by a file or a folder, and the last word counts."""
    trees = Trees()
    root = trees.make({"a/x": (FILE, ONE), "b": (FILE, ONE)})
    steps: list[Put | Remove] = [
        Remove("a"),
        Put("a", TWO),
        Remove("b"),
        Put("b/y", ONE),
        Put("b/y", TWO),
        Put("c", ONE),
        Remove("c"),
    ]
    assert trees.files(trees.edit(root, steps).root) == {"a": (FILE, TWO), "b/y": (FILE, TWO)}


def test_folders_that_become_empty_vanish() -> None:
    """Deleting the only file below some folders deletes them, up to the first with something else, or to the root."""
    trees = Trees()
    root = trees.make({"a/b/c/only": (FILE, ONE), "a/else": (FILE, ONE)})
    edited = trees.edit(root, [Remove("a/b/c/only")])
    assert trees.files(edited.root) == {"a/else": (FILE, ONE)}
    assert edited.folders.keys() == {"", "a"}
    assert edited.folders["a"] == Folder((TreeEntry("else", FILE, ONE),), frozenset())
    assert trees.edit(edited.root, [Remove("a/else")]).root == EMPTY_TREE


def test_edits_that_change_nothing_make_nothing() -> None:
    """Putting what is there, or taking away what was just added, gives the same root and no trees."""
    trees = Trees()
    root = trees.make({"a/b/x": (FILE, ONE), "y": (EXECUTABLE, ONE)})
    steps: list[Put | Remove] = [
        Put("a/b/x", TWO),
        Put("a/b/x", ONE),
        Remove("y"),
        Put("y", ONE, EXECUTABLE),
        Put("n/n", ONE),
        Remove("n"),
    ]
    assert trees.edit(root, steps) == Edited(root, {}, {})
    assert trees.edit(root, [Remove("a"), Put("a/b/x", ONE)]) == Edited(root, {}, {})
    assert trees.edit(root, []) == Edited(root, {}, {})


def test_folders_say_which_entries_changed() -> None:
    """New, changed in content and changed in mode count as changed; what stands beside them does not."""
    trees = Trees()
    root = trees.make(
        {"d/old": (FILE, ONE), "d/text": (FILE, ONE), "d/mode": (FILE, ONE), "e/f": (FILE, ONE)}
    )
    steps = [Put("d/new", ONE), Put("d/text", TWO), Put("d/mode", ONE, EXECUTABLE)]
    folders = trees.edit(root, steps).folders
    assert {path: folder.changed for path, folder in folders.items()} == {
        "": {"d"},
        "d": {"new", "text", "mode"},
    }
    assert [entry.name for entry in folders["d"].entries] == ["mode", "new", "old", "text"]


# --- the work it takes ---

MANY = 10_000


def test_a_first_upload_loads_nothing_and_makes_each_folder_once() -> None:
    """10 000 files into 50 folders of a folder of an empty repo: no tree is read, 52 are made."""
    trees = Trees()
    edited = trees.edit(EMPTY_TREE, [Put(f"data/part-{n % 50}/{n}.bin", ONE) for n in range(MANY)])
    assert trees.loaded == []
    assert len(edited.trees) == len(edited.folders) == 52
    assert len(trees.files(edited.root)) == MANY


def test_one_edit_among_many_files_reads_and_makes_its_path_only() -> None:
    """One file of a folder of 10 000, beside other folders: the root and that folder are read once and made once."""
    trees = Trees()
    root = trees.make(
        {f"data/{n}.bin": (FILE, ONE) for n in range(MANY)} | {"a/b": (FILE, ONE), "c/d": (FILE, ONE)}
    )
    edited = trees.edit(root, [Put("data/77.bin", TWO), Remove("data/78.bin")])
    assert len(trees.loaded) == len(edited.trees) == 2
    assert edited.folders["data"].changed == {"77.bin"}
    trees.loaded.clear()
    assert trees.drive(diff(root, edited.root)) == [
        Change("data/77.bin", TreeEntry("77.bin", FILE, ONE), TreeEntry("77.bin", FILE, TWO)),
        Change("data/78.bin", TreeEntry("78.bin", FILE, ONE), None),
    ]
    assert len(trees.loaded) == 4


def test_a_folder_that_comes_and_goes_is_read_once() -> None:
    """Deleting and making the same folder over and over in one commit costs one reading of it, not one each time."""
    trees = Trees()
    root = trees.make({f"data/{n}.bin": (FILE, ONE) for n in range(MANY)})
    edited = trees.edit(root, [Remove("data"), Put("data/new", ONE)] * 2000)
    assert len(trees.loaded) == 2
    assert trees.files(edited.root) == {"data/new": (FILE, ONE)}


def test_depth_is_no_limit() -> None:
    """Paths deeper than the interpreter's stack are edited, compared and listed."""
    trees, path = Trees(), "/".join("d" * 3000)
    root = trees.edit(EMPTY_TREE, [Put(path + "/file", ONE)]).root
    edited = trees.edit(root, [Put(path + "/file", TWO)])
    assert [change.path for change in trees.drive(diff(root, edited.root))] == [path + "/file"]
    assert len(trees.drive(changed_folders(None, edited.root))) == 3001
    assert trees.edit(root, [Remove(path + "/file")]).root == EMPTY_TREE


# --- differences ---


@given(edits, edits)
@settings(deadline=None)
def test_the_difference_of_two_trees_makes_one_of_the_other(
    first: list[Put | Remove], second: list[Put | Remove]
) -> None:
    """`diff` names exactly the files that differ, in order of path; undoing and redoing them gives the other tree."""
    trees = Trees()
    before, after = applied({}, first, trees)[0], applied({}, second, trees)[0]
    old, new = trees.make(before), trees.make(after)
    changes = trees.drive(diff(old, new))
    assert [(c.path, c.old and c.old[1:], c.new and c.new[1:]) for c in changes] == [
        (path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
    # What goes, goes first: a file may stand where a folder was.
    steps: list[Put | Remove] = [Remove(c.path) for c in changes if c.old and not c.new]
    steps += [Put(c.path, c.new.oid, c.new.mode) for c in changes if c.new]
    assert trees.edit(old, steps).root == new


def test_equal_subtrees_are_not_read() -> None:
    """Two trees that share all but one folder: only that folder and the roots are read; equal roots, nothing is."""
    trees = Trees()
    files = {f"{folder}/{name}": (FILE, ONE) for folder in "abc" for name in "xyz"}
    old, new = trees.make(files), trees.make(files | {"b/y": (LINK, ONE)})
    assert [change.path for change in trees.drive(diff(old, new))] == ["b/y"]
    assert len(trees.loaded) == 4
    trees.loaded.clear()
    assert (
        trees.drive(diff(old, old))
        == trees.drive(diff(None, None))
        == trees.drive(diff(None, EMPTY_TREE))
        == []
    )
    assert trees.drive(changed_folders(old, old)) == {}
    assert trees.loaded == []


def test_a_file_that_becomes_a_folder_goes_and_its_files_come() -> None:
    """The path is named once as gone; what is in the folder is named as new."""
    trees = Trees()
    old, new = trees.make({"a": (FILE, ONE)}), trees.make({"a/b": (FILE, ONE)})
    gone, came = trees.drive(diff(old, new))
    assert (gone.path, gone.old, gone.new) == ("a", TreeEntry("a", FILE, ONE), None)
    assert (came.path, came.old, came.new) == ("a/b", None, TreeEntry("b", FILE, ONE))


# --- histories, judged by C git ---


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(edits, min_size=2, max_size=8))
def test_git_finds_no_fault_with_a_history(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[Put | Remove]]
) -> None:
    """Commits made of random edits pass `git fsck --strict`, and git lists the files that we say each one has."""
    git, trees = Git(tmp_path_factory.mktemp("git")), Trees()
    files: Files = {}
    root, parents = EMPTY_TREE, tuple[CommitId, ...]()
    for steps in rounds:
        done = [step for step, ok in fitting(files, steps) if ok]
        files, edited = applied(files, done, trees, root)[0], trees.edit(root, done)
        root = edited.root
        assert {git.keep("tree", data) for data in edited.trees.values()} == edited.trees.keys()
        parents = (
            CommitId(git.keep("commit", render_commit(GitCommit(root, parents, SOMEBODY, SOMEBODY, "x")))),
        )
        assert git_files(git, parents[0]) == files
    git.run("update-ref", "refs/heads/main", parents[0])
    assert git.run("fsck", "--strict", "--no-dangling") == b""


def git_files(git: Git, commit: CommitId) -> Files:
    """The files of a commit as `git ls-tree` has them."""
    found: Files = {}
    for row in git.run("ls-tree", "-r", "-z", commit).decode().split("\0")[:-1]:
        facts, _, path = row.partition("\t")
        mode, _, oid = facts.split(" ")
        found[path] = int(mode, 8), Oid(oid)
    return found
