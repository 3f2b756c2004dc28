"""Pointers, and the JSON of git-lfs: what git-lfs writes is read, what it would not take is refused."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import Invalid, TooLarge
from hubreg.formats import lfs
from hubreg.formats.gitobjects import object_oid
from hubreg.formats.lfs import Action, BatchObject, ObjectError, Part, Pointer, Wanted
from hubreg.model import Sha256

OID = "cd44947308b4b22228767cab8addd523d1de22abd9b23a10808e5fc295202e4f"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 1048576\n".encode()


def test_a_pointer_is_git_lfs_own_text() -> None:
    """The text, its length (`pointerSize` of the API) and so git's name of it are fixed (HUB 8.4)."""
    assert lfs.render_pointer(Sha256(OID), 1048576) == POINTER
    sha256 = Sha256("a7a17d6d844b5de815ccab5f42cad6d24496db3850a2a43d8258221018ce87d2")
    recorded = lfs.render_pointer(sha256, 536063208)  # tf_model.h5 of google-bert/bert-base-uncased
    assert len(recorded) == 134
    assert object_oid("blob", recorded) == "9eb98c817f04b051b3bcca591bcd4e03cec88018"


@given(st.binary(min_size=32, max_size=32).map(bytes.hex), st.integers(0, 10**15))
def test_a_pointer_is_read_as_it_was_written(sha256: str, size: int) -> None:
    """Whatever it points to; an editor may have cut off the last line end, an extension may have added a line."""
    text = lfs.render_pointer(Sha256(sha256), size)
    expected = Pointer(Sha256(sha256), size)
    assert lfs.parse_pointer(text) == lfs.parse_pointer(text[:-1]) == expected
    version, rest = text.split(b"\n", 1)
    extended = version + b"\next-0-foo sha256:" + OID.encode() + b"\n" + rest
    assert lfs.parse_pointer(extended) == expected


@pytest.mark.parametrize(
    "text",
    [b"", b"version https://git-lfs.github.com/spec/v1\n", POINTER.upper(), POINTER + b"\n", b" " + POINTER,
     POINTER.replace(b"\n", b"\r\n"), POINTER.replace(b"size 1", b"size -1"), POINTER.replace(b"size 1", b"size 01"),
     POINTER.replace(b"sha256:c", b"sha256:g"), POINTER.replace(b"size 1048576", b"size " + b"9" * 5000),
     POINTER + b"x" * 2000, POINTER.replace(b"git-lfs.github.com", b"git-lfs-github.com"), b"\xff" * 130],
)  # fmt: skip
def test_what_only_looks_like_a_pointer_is_content(text: bytes) -> None:
    """A file that talks of pointers stays a file."""
    assert lfs.parse_pointer(text) is None


@given(st.binary(max_size=200))
def test_no_content_breaks_the_reader(text: bytes) -> None:
    """Any bytes may be asked about; what is read as a pointer says where its content is."""
    found = lfs.parse_pointer(text)
    assert found is None or len(found.sha256) == 64


def test_what_clients_ask() -> None:
    """Python's words, JS' name of the hash, and the little that an old git-lfs sends."""
    body = {
        "operation": "upload",
        "transfers": ["basic", "multipart", "xet"],
        "objects": [{"oid": OID, "size": 11406640119}],
        "hash_algo": "sha_256",
        "ref": {"name": "refs/heads/main"},
    }
    request = lfs.parse_batch(json.dumps(body).encode())
    assert request.objects == (Wanted(OID, 11406640119),)
    assert request.transfers == ("basic", "multipart", "xet")
    assert request.ref is not None
    assert request.ref.name == "refs/heads/main"
    small = lfs.parse_batch(b'{"operation":"download","objects":[]}')
    assert (small.operation, small.objects, small.transfers) == ("download", (), ("basic",))


BAD_BATCHES = [
    b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"operation":"upload"}', b'{"operation":"delete","objects":[]}',
    b'{"operation":"upload","objects":{}}', b'{"operation":"upload","objects":[{"oid":"abc","size":1}]}',
    b'{"operation":"upload","objects":[],"hash_algo":"sha1"}', b'{"operation":"upload","objects":[],"transfers":[1]}',
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_BATCHES)
def test_a_batch_that_makes_no_sense_is_refused(body: bytes) -> None:
    """400 and a sentence, not a failure."""
    with pytest.raises(Invalid):
        lfs.parse_batch(body)


@pytest.mark.parametrize("wanted", [{"oid": OID, "size": -1}, {"oid": OID, "size": 1.5}, {"oid": OID, "size": "1"},
                                    {"oid": OID, "size": None}, {"oid": OID}, {"oid": OID, "size": 2**64},
                                    {"oid": OID.upper(), "size": 1}, {"oid": OID + "\n", "size": 1},
                                    {"oid": "../" + OID[3:], "size": 1}, {"oid": 1, "size": 1}])  # fmt: skip
def test_names_and_sizes_are_checked_everywhere(wanted: dict[str, object]) -> None:
    """A sha256 is 64 lower-case digits and a size no negative number, in a batch and in its verification."""
    with pytest.raises(Invalid):
        lfs.parse_batch(json.dumps({"operation": "upload", "objects": [wanted]}).encode())
    with pytest.raises(Invalid):
        lfs.parse_verify(json.dumps(wanted).encode())


def test_too_many_objects_are_too_much() -> None:
    """413 makes git-lfs send fewer at a time."""
    objects = [{"oid": OID, "size": 1}] * 1001
    with pytest.raises(TooLarge):
        lfs.parse_batch(json.dumps({"operation": "upload", "objects": objects}).encode())


def test_the_answer_is_what_clients_read() -> None:
    """An object to send, one that is here, one that fails; what is not said is absent and not null."""
    upload = Action("https://h/put?sig=1", expires_in=900)
    objects = [
        BatchObject(
            OID, 3, authenticated=True, actions={"upload": upload, "verify": Action("https://h/verify")}
        ),
        BatchObject(OID, 4),
        BatchObject(OID, 5, error=ObjectError(404, "Object does not exist")),
    ]
    assert json.loads(msgspec.json.encode(lfs.BatchResponse("basic", tuple(objects)))) == {
        "transfer": "basic",
        "objects": [
            {
                "oid": OID,
                "size": 3,
                "authenticated": True,
                "actions": {
                    "upload": {"href": "https://h/put?sig=1", "expires_in": 900},
                    "verify": {"href": "https://h/verify"},
                },
            },
            {"oid": OID, "size": 4},
            {"oid": OID, "size": 5, "error": {"code": 404, "message": "Object does not exist"}},
        ],
    }


def test_the_parts_of_a_multipart_upload_are_recorded_so() -> None:
    """The part size is text, the parts are digits, as in the Hub's answer; clients count ceil(size / part size)."""
    assert lfs.part_count(40_000_000, 16_000_000) == 3
    assert lfs.part_count(32_000_000, 16_000_000) == 2
    assert lfs.multipart_header(16_000_000, ["u1", "u2", "u3"]) == {
        "chunk_size": "16000000", "00001": "u1", "00002": "u2", "00003": "u3",
    }  # fmt: skip


def test_the_end_of_a_multipart_upload() -> None:
    """Parts come in any order and are read in the order of their numbers."""
    body = {"oid": OID, "parts": [{"partNumber": 2, "etag": '"b"'}, {"partNumber": 1, "etag": "a"}]}
    assert lfs.parse_completion(json.dumps(body).encode()).parts == (Part(1, "a"), Part(2, '"b"'))
    assert lfs.parse_verify(json.dumps({"oid": OID, "size": 7}).encode()) == Pointer(Sha256(OID), 7)


@pytest.mark.parametrize(
    "parts",
    [None, [{}], [{"partNumber": 0, "etag": "a"}], [{"partNumber": 10_001, "etag": "a"}], [{"partNumber": 1}],
     [{"partNumber": 1, "etag": ""}], [{"partNumber": "1", "etag": "a"}], [{"partNumber": 1, "etag": "a" * 300}],
     [{"partNumber": 1, "etag": "a"}, {"partNumber": 1, "etag": "b"}]],
)  # fmt: skip
def test_parts_that_make_no_sense_are_refused(parts: object) -> None:
    """Numbers that no part has, parts without an ETag, one part twice."""
    with pytest.raises(Invalid):
        lfs.parse_completion(json.dumps({"oid": OID, "parts": parts}).encode())
