"""The lines of a commit and the question before it: what clients send, in any pieces, and what nobody should."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import HubregError, Invalid, InvalidPath, TooLarge
from hubreg.formats.commitlines import (
    UNKNOWN_KEY,
    Candidate,
    CommitParser,
    FileLine,
    Line,
    Preupload,
    parse_commit_json,
    parse_preupload,
)
from hubreg.model import AddLfs, CommitHeader, CopyFile, DeleteFile, DeleteFolder, Sha256

LIMIT = 10 << 20
OID = "cd44947308b4b22228767cab8addd523d1de22abd9b23a10808e5fc295202e4f"
HEADER = b'{"key":"header","value":{"summary":"s","description":""}}\n'


def parse(*pieces: bytes, max_content: int = LIMIT) -> list[Line]:
    parser = CommitParser(max_content)
    lines = [line for piece in pieces for line in parser.feed(piece)]
    return lines + list(parser.close())


def line(key: str, **value: object) -> bytes:
    return json.dumps({"key": key, "value": value}).encode() + b"\n"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_a_recorded_commit() -> None:
    """The body that `hf` 1.31 sent to the real Hub, its content filled in."""
    body = (
        b'{"key":"header","value":{"summary":"test: fixtures","description":""}}\n'
        b'{"key":"lfsFile","value":{"path":"regression/ref-lfs.bin","algo":"sha256","oid":"'
        + OID.encode()
        + b'",'
        b'"size":1048576}}\n'
        b'{"key":"file","value":{"content":"aGVsbG8K","path":"regression/ref-regular.txt","encoding":"base64"}}\n'
    )
    assert parse(body) == [
        CommitHeader("test: fixtures"),
        AddLfs("regression/ref-lfs.bin", Sha256(OID), 1048576),
        FileLine("regression/ref-regular.txt", b"hello\n"),
    ]


def test_every_key_that_clients_send() -> None:
    """Deletions of both kinds, a copy in LFS without its size, text, moves; in the order in which they were listed."""
    body = b"".join(
        [
            line("header", summary="s", description="d", parentCommit="ABCDEF0"),
            line("deletedFile", path="a"),
            line("deletedFolder", path="b/c/"),
            line("deletedFolder", path="d"),
            line("deletedEntry", path="e"),
            line("lfsFile", path="copy.bin", algo="sha256", oid=OID),
            line("file", path="text", content="ü\n", encoding="utf-8"),
            line("file", path="empty", content="", encoding="base64"),
            line("file", path="new", oldPath="old"),
            line("lfsFile", path="new.bin", oldPath="old.bin", algo="sha256", oid=OID, size=3),
        ]
    )
    assert parse(body) == [
        CommitHeader("s", "d", "abcdef0"),
        DeleteFile("a"),
        DeleteFolder("b/c"),
        DeleteFolder("d"),
        DeleteFile("e"),
        AddLfs("copy.bin", Sha256(OID), None),
        FileLine("text", "ü\n".encode()),
        FileLine("empty", b""),
        DeleteFile("old"),
        CopyFile("new", "old"),
        DeleteFile("old.bin"),
        AddLfs("new.bin", Sha256(OID), 3),
    ]


def test_the_last_line_may_lack_its_end() -> None:
    """The JS client joins lines; blank lines and carriage returns do no harm either."""
    body = HEADER + b"\n \r\n" + line("deletedFile", path="a").strip() + b"\r"
    assert parse(body) == [CommitHeader("s"), DeleteFile("a")]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=30)), min_size=1, max_size=5),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_pieces_do_not_matter(files: list[tuple[str, bytes]], cuts: list[int]) -> None:
    """However the network cuts a body up, its lines are the same."""
    body = HEADER + b"".join(line("file", path=p, content=b64(c), encoding="base64") for p, c in files)
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[start:end] for start, end in pairwise(edges)]
    assert parse(*pieces) == [CommitHeader("s"), *(FileLine(p, c) for p, c in files)]
    assert parse(*(bytes([byte]) for byte in body)) == parse(body)


def chunks(body: bytes, size: int = 65_536) -> Iterable[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def test_a_body_of_any_size_is_never_held() -> None:
    """Twelve files of nine megabytes, as a test of the client sends: memory is for one line, not for the commit."""
    content = b64(bytes(9 << 20))
    one = line("file", path="f", content=content, encoding="base64")
    parser = CommitParser(LIMIT)
    assert list(parser.feed(HEADER)) == [CommitHeader("s")]
    tracemalloc.start()
    for _ in range(12):
        sizes = [
            len(found.content)
            for piece in chunks(one)
            for found in parser.feed(piece)
            if isinstance(found, FileLine)
        ]
        assert sizes == [9 << 20]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(parser.close()) == []
    assert peak < 4 * len(one)


@pytest.mark.parametrize("encoding", ["base64", "utf-8"])
def test_content_over_the_limit_is_the_hubs_refusal(encoding: str) -> None:
    """A regular file may have 10 MiB, to the byte."""
    fits, over = b"x" * LIMIT, b"x" * (LIMIT + 1)

    def body(content: bytes) -> bytes:
        text = b64(content) if encoding == "base64" else content.decode()
        return HEADER + line("file", path="big.txt", content=text, encoding=encoding)

    assert parse(body(fits))[1] == FileLine("big.txt", fits)
    with pytest.raises(Invalid, match=r"contains files larger than 10 MiB\..*Offending files: - big\.txt"):
        parse(body(over))


def test_a_line_without_end_is_refused_before_it_fills_memory() -> None:
    """Somebody who never sends a line's end is stopped at twice the largest file."""
    parser = CommitParser(1 << 20)
    with pytest.raises(Invalid, match="contains files larger than 1 MiB"):
        for _ in range(64):
            list(parser.feed(b"x" * 65_536))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Add a line with the key `header`"),
        (b"\n\n", "Add a line with the key `header`"),
        (HEADER, UNKNOWN_KEY),
        (HEADER + line("nonsense", path="a"), UNKNOWN_KEY),
        (line("file", path="a", content=""), "Line 1: the key `header` must come first"),
        (HEADER + HEADER, "Line 2: the key `header` must come first"),
        (HEADER + b"\n{", "Line 3: this is not valid JSON"),
        (HEADER + b'{"key":"file","value":{"path":"a","content":"\xff"}}', "Line 2: this is not valid JSON"),
        (
            HEADER + b'{"key":"file","value":{"path":"\\ud800","content":""}}',
            "Line 2: this is not valid JSON",
        ),
        (HEADER + b'{"key":"file","value":' + b"[" * 100_000, "Line 2: this is not valid JSON"),
        (HEADER + b"[]", "Line 2: Expected `object`"),
        (HEADER + b'{"key":"file"}', "Line 2: .*`value`"),
        (HEADER + b'{"key":1,"value":{}}', "Line 2: Expected `str`"),
        (HEADER + line("file", path="a"), "Line 2: `file` needs `content`"),
        (HEADER + line("file", content=""), "Line 2: .*`path`"),
        (HEADER + line("file", path=["a"], content=""), "Line 2: Expected `str`"),
        (
            HEADER + line("file", path="a", content="!", encoding="base64"),
            "Line 2: `content` is not valid base64",
        ),
        (HEADER + line("file", path="a", content="YQ", encoding="base64"), "not valid base64"),
        (HEADER + line("file", path="a", content="YQ==YQ==", encoding="base64"), "not valid base64"),
        (HEADER + line("file", path="a", content="Y\nQ==", encoding="base64"), "not valid base64"),
        (HEADER + line("file", path="a", content="é", encoding="base64"), "not valid base64"),
        (HEADER + line("file", path="a", content="", encoding="latin-1"), "must be one of base64, utf-8"),
        (HEADER + line("lfsFile", path="a", algo="sha1", oid=OID, size=1), "Line 2: `algo` must be sha256"),
        (HEADER + line("lfsFile", path="a", algo="sha256", oid=OID.upper(), size=1), "`oid` 64 lower-case"),
        (HEADER + line("lfsFile", path="a", algo="sha256", oid=OID + "\n", size=1), "`oid` 64 lower-case"),
        (HEADER + line("lfsFile", path="a", algo="sha256", oid=OID, size=-1), "Line 2: "),
        (HEADER + line("lfsFile", path="a", algo="sha256", oid=OID, size=1.5), "Line 2: "),
        (HEADER + line("lfsFile", path="a", algo="sha256", oid=OID, size=2**64), "Line 2: "),
        (HEADER + line("lfsFile", path="a", algo="sha256", oid=OID, size="1"), "Line 2: "),
        (line("header", summary=" "), "a commit needs a summary"),
        (line("header", description="d"), "Line 1: .*`summary`"),
        (line("header", summary="a\0b"), "NUL"),
        (line("header", summary="s" * 70_000), "65536 characters"),
        (line("header", summary="s", parentCommit="main"), "`parentCommit` must be 5 to 40 hex digits"),
        (line("header", summary="s", parentCommit="abcd"), "`parentCommit` must be 5 to 40 hex digits"),
        (line("header", summary="s", parentCommit="a" * 41), "`parentCommit` must be 5 to 40 hex digits"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(body: bytes, message: str) -> None:
    """400 and a sentence for each, the Hub's own where it has one."""
    with pytest.raises(Invalid, match=message):
        parse(body)


@pytest.mark.parametrize("key", ["file", "lfsFile", "deletedFile", "deletedFolder", "deletedEntry"])
@pytest.mark.parametrize("path", ["..\\ddd", "a/../b", "/a", "", "a//b", ".git/config"])
def test_no_line_may_name_a_path_outside(key: str, path: str) -> None:
    """422, whatever is to be done at the path; where a move comes from is checked as well."""
    with pytest.raises(InvalidPath, match=r"^Line 2: "):
        parse(HEADER + line(key, path=path, content="", oid=OID))
    with pytest.raises(InvalidPath, match=r"^Line 2: "):
        parse(HEADER + line("file", path="ok", oldPath=path))


@given(st.binary(max_size=60) | st.text('{}[]":,keyvalufi\n 01', max_size=60).map(str.encode))
def test_garbage_is_refused_and_nothing_else(garbage: bytes) -> None:
    """Whatever arrives after a header, the answer is one of ours."""
    with pytest.raises(HubregError) as refused:
        parse(HEADER + garbage)
    assert refused.value.status in (400, 422)


def test_a_truncated_commit_is_refused() -> None:
    """Every body that ends within a line says so; none ends up as a shorter commit."""
    whole = HEADER + line("file", path="a", content="YQ==", encoding="base64").strip()
    for end in range(len(whole)):
        with pytest.raises(Invalid):
            parse(whole[:end])


# One JSON body


def test_the_json_form_means_the_same() -> None:
    """What the Hub's OpenAPI describes; deletions go first, so that a file may take a folder's place."""
    body = {
        "summary": "s",
        "parentCommit": "abcde",
        "files": [{"path": "a", "content": "YQ==", "encoding": "base64"}, {"path": "b", "content": "t"}],
        "lfsFiles": [{"path": "c", "algo": "sha256", "oid": OID, "size": 1}],
        "deletedFiles": [{"path": "d"}],
        "deletedFolders": [{"path": "a/"}],
        "deletedEntries": [{"path": "e"}],
    }
    assert parse_commit_json(json.dumps(body).encode(), LIMIT) == [
        CommitHeader("s", "", "abcde"),
        DeleteFile("d"),
        DeleteFile("e"),
        DeleteFolder("a"),
        FileLine("a", b"a"),
        FileLine("b", b"t"),
        AddLfs("c", Sha256(OID), 1),
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"summary": "s"}, UNKNOWN_KEY),
        ({"files": []}, "The body: .*`summary`"),
        ({"summary": "s", "files": {}}, "The body: Expected `array`"),
        ({"summary": "s", "files": [{"path": "b", "content": "x" * 9}]}, "larger than 8 bytes.*- b"),
        ({"summary": "s", "files": [{"path": "a", "content": "?", "encoding": "base64"}]}, r"files\[0\]: `content`"),
        ({"summary": "s", "lfsFiles": [{"path": "a", "oid": "x"}]}, r"lfsFiles\[0\]: `algo`"),
        ({"summary": "s", "deletedFolders": [{"path": "a"}, {"path": "/"}]}, r"deletedFolders\[1\]: "),
    ],
)  # fmt: skip
def test_the_json_form_is_checked_alike(body: dict[str, object], message: str) -> None:
    """The sentence says which item is wrong."""
    with pytest.raises(Invalid, match=message):
        parse_commit_json(json.dumps(body).encode(), 8)


# Preupload


def test_a_preupload_question() -> None:
    """What Python sends, 256 files at a time, and the rules that JS sends along."""
    files = [{"path": f"f{n}", "sample": b64(b"x" * n), "size": n} for n in range(256)]
    body = {"files": files, "gitAttributes": "*.x filter=lfs", "gitIgnore": "*.tmp", "else": 1}
    asked = parse_preupload(json.dumps(body).encode())
    assert asked.files == tuple(Candidate(f"f{n}", n, b"x" * n) for n in range(256))
    assert (asked.gitattributes, asked.gitignore) == ("*.x filter=lfs", "*.tmp")
    assert parse_preupload(b'{"files":[{"path":"a","size":0}]}') == Preupload((Candidate("a", 0, b""),))


def test_a_sample_is_cut_at_what_the_hub_judges() -> None:
    """A client that sends the whole file as its sample does not make us hold or judge it."""
    body = {"files": [{"path": "a", "size": 1, "sample": b64(bytes(5000))}]}
    assert len(parse_preupload(json.dumps(body).encode()).files[0].sample) == 512


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", Invalid), (b"[]", Invalid), (b"{}", Invalid), (b'{"files":[{}]}', Invalid), (b'{"files":null}', Invalid),
        (b'{"files":[{"path":"a","size":-1}]}', Invalid), (b'{"files":[{"path":"a","size":"1"}]}', Invalid),
        (b'{"files":[{"path":"a","size":1,"sample":"?"}]}', Invalid), (b"\xff", Invalid), (b"[" * 100_000, Invalid),
        (b'{"files":[{"path":"..\\\\ddd","size":1}]}', InvalidPath), (b'{"files":[],"gitIgnore":1}', Invalid),
        (b'{"files":[],"gitIgnore":"' + b"a" * 2_000_000 + b'"}', TooLarge),
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(body: bytes, error: type[HubregError]) -> None:
    """Wrong types, numbers, paths and sizes, each in its own class."""
    with pytest.raises(error) as refused:
        parse_preupload(body)
    assert type(refused.value) is error


def test_a_question_is_about_a_thousand_files_at_most() -> None:
    """Clients ask about 256; each is tried against every rule."""

    def asking(count: int) -> bytes:
        return json.dumps({"files": [{"path": f"f{n}", "size": 1} for n in range(count)]}).encode()

    assert len(parse_preupload(asking(1000)).files) == 1000
    with pytest.raises(TooLarge, match="1001 files at once are too many"):
        parse_preupload(asking(1001))
