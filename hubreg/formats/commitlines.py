"""
What a client sends to make a commit: ndjson, one JSON object a line (CLIENT_API 3, HUB 8.3), the older form
in one JSON body, and the preupload question that comes before.

A commit may be hundreds of megabytes and one of its lines fourteen, so `CommitParser` takes bytes as they
arrive, in any pieces, and never holds more than one line. Whatever is wrong is `Invalid`, or `InvalidPath`
for a path that no repo may hold, and says which line. Whether a path exists, an object was sent or the parent
is the branch's commit is not asked here; how many lines a commit may have is the caller's to say.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from hubreg.errors import Invalid, InvalidPath, TooLarge
from hubreg.formats.names import check_path
from hubreg.model import AddLfs, CommitHeader, CopyFile, DeleteFile, DeleteFolder, Sha256

# The Hub's words (HUB 4.2, 8.5).
UNKNOWN_KEY = "Add a line with the key `lfsFile`, `file` or `deletedFile`"

_MAX_MESSAGE = 65_536  # characters of a summary or a description
_MAX_RULES_TEXT = 1 << 20  # characters of a .gitattributes or .gitignore that comes with a question
_ROOM = 65_536  # bytes of a line beside its content
_MOST_CANDIDATES = 1000  # of one question; clients ask about 256 at once (CLIENT_API 3)
_SAMPLE = 512  # bytes of a file that the Hub judges

_OID = re.compile(r"[0-9a-f]{64}")
_PARENT = re.compile(r"[0-9a-fA-F]{5,40}")


@dataclass(frozen=True, slots=True)
class FileLine:
    """A file whose bytes came inline."""

    path: str
    content: bytes


Line = CommitHeader | FileLine | AddLfs | DeleteFile | DeleteFolder | CopyFile


# The wire. Keys that are not named here are ignored, as the Hub does.

_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class _Envelope(msgspec.Struct):
    key: str
    value: msgspec.Raw


class _Header(msgspec.Struct, rename="camel"):
    summary: str
    description: str | None = None
    parent_commit: str | None = None


class _File(msgspec.Struct, rename="camel"):
    path: str
    content: str | None = None
    encoding: str = "utf-8"
    old_path: str | None = None


class _LfsFile(msgspec.Struct, rename="camel"):
    path: str
    oid: str
    algo: str = "sha256"
    size: _Size | None = None
    old_path: str | None = None


class _Deleted(msgspec.Struct):
    path: str


class _Body(_Header, rename="camel"):
    files: list[_File] = []
    lfs_files: list[_LfsFile] = []
    deleted_files: list[_Deleted] = []
    deleted_folders: list[_Deleted] = []
    deleted_entries: list[_Deleted] = []


W = TypeVar("W")


def _decode(decoder: msgspec.json.Decoder[W], data: bytes | bytearray | msgspec.Raw, where: str) -> W:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise Invalid(f"{where}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{where}: this is not valid JSON in UTF-8") from error


def _path(path: str, where: str) -> str:
    try:
        check_path(path)
    except InvalidPath as error:
        raise InvalidPath(f"{where}: {error.message}") from error
    return path


def _header(wire: _Header, where: str) -> CommitHeader:
    description = wire.description or ""
    if not wire.summary.strip():
        raise Invalid(f"{where}: a commit needs a summary")
    if max(len(wire.summary), len(description)) > _MAX_MESSAGE:
        raise Invalid(f"{where}: a summary or description may have {_MAX_MESSAGE} characters")
    if "\0" in wire.summary or "\0" in description:
        raise Invalid(f"{where}: a commit's message cannot hold a NUL character")
    parent = wire.parent_commit or None
    if parent is not None and not _PARENT.fullmatch(parent):
        raise Invalid(f"{where}: `parentCommit` must be 5 to 40 hex digits")
    return CommitHeader(wire.summary, description, parent.lower() if parent else None)


def _file(wire: _File, where: str, max_content: int) -> list[Line]:
    path = _path(wire.path, where)
    if wire.content is not None:
        content = _content(wire.content, wire.encoding, where)
        if len(content) > max_content:
            raise Invalid(too_large(max_content, path))
        return [*_moved_from(wire.old_path, path, where), FileLine(path, content)]
    if wire.old_path is None:
        raise Invalid(f"{where}: `file` needs `content`")
    return [*_moved_from(wire.old_path, path, where), CopyFile(path, wire.old_path)]


def _content(content: str, encoding: str, where: str) -> bytes:
    if encoding == "base64":
        try:
            return binascii.a2b_base64(content, strict_mode=True)
        except ValueError as error:  # binascii.Error, or characters that are not ASCII
            raise Invalid(f"{where}: `content` is not valid base64") from error
    if encoding != "utf-8":
        raise Invalid(f"{where}: `encoding` must be one of base64, utf-8")
    return content.encode()


def _lfs_file(wire: _LfsFile, where: str) -> list[Line]:
    path = _path(wire.path, where)
    if wire.algo != "sha256" or not _OID.fullmatch(wire.oid):
        raise Invalid(f"{where}: `algo` must be sha256 and `oid` 64 lower-case hex digits")
    return [*_moved_from(wire.old_path, path, where), AddLfs(path, Sha256(wire.oid), wire.size)]


def _moved_from(old_path: str | None, path: str, where: str) -> list[Line]:
    """`oldPath` moves (HUB 8.3). What leaves goes first: the new path may be below the old one."""
    if old_path is None or old_path == path:
        return []
    return [DeleteFile(_path(old_path, where))]


def _deleted(wire: _Deleted, where: str) -> list[Line]:
    return [DeleteFile(_path(wire.path, where))]


def _deleted_folder(wire: _Deleted, where: str) -> list[Line]:
    return [DeleteFolder(_path(wire.path.removesuffix("/"), where))]


def too_large(max_content: int, path: str | None) -> str:
    """The Hub's words for a file that belongs into large file storage (HUB 8.5)."""
    limit = f"{max_content // (1 << 20)} MiB" if max_content >= 1 << 20 else f"{max_content} bytes"
    offending = f" Offending files: - {path}" if path else ""
    return (
        f"Your push was rejected because it contains files larger than {limit}. Please use"
        f" https://git-lfs.github.com/ to store large files.{offending}"
    )


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_HEADER = msgspec.json.Decoder(_Header)
_FILE = msgspec.json.Decoder(_File)
_LFS_FILE = msgspec.json.Decoder(_LfsFile)
_DELETED = msgspec.json.Decoder(_Deleted)
_BODY = msgspec.json.Decoder(_Body)


class CommitParser:
    """
    A commit's lines, as its bytes arrive: `feed` each piece, then `close`, which takes the last line without
    its end.

    The first line is a `CommitHeader`, and there is one. Both iterators must be read to their end. After an
    error the parser is of no more use.
    """

    def __init__(self, max_content: int) -> None:
        """`max_content` is the size in bytes of the largest file that may come inline."""
        self._max_content = max_content
        # Base64 takes 4/3, text with escaped line ends up to twice its size.
        self._max_line = 2 * max_content + _ROOM
        self._line = bytearray()
        self._number = 0
        self._header_seen = self._operation_seen = False

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that end in `data`."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._hold(data[start:end])
            yield from self._take()
            start = end + 1
        self._hold(data[start:])

    def close(self) -> Iterator[Line]:
        """
        The last line, if its end is missing. Raises `Invalid` for a commit of no header or no operation.
        """
        yield from self._take()
        if not self._header_seen:
            raise Invalid("Add a line with the key `header`")
        if not self._operation_seen:
            raise Invalid(UNKNOWN_KEY)

    def _hold(self, piece: bytes) -> None:
        if len(self._line) + len(piece) > self._max_line:
            raise Invalid(too_large(self._max_content, None))
        self._line += piece

    def _take(self) -> list[Line]:
        self._number += 1
        line, self._line = self._line, bytearray()
        return self._parse(line, f"Line {self._number}") if line and not line.isspace() else []

    def _parse(self, line: bytearray, where: str) -> list[Line]:
        envelope = _decode(_ENVELOPE, line, where)
        is_header = envelope.key == "header"
        if is_header == self._header_seen:
            raise Invalid(f"{where}: the key `header` must come first, and once")
        self._header_seen = True
        self._operation_seen |= not is_header
        return self._lines(envelope, where)

    def _lines(self, envelope: _Envelope, where: str) -> list[Line]:
        match envelope.key:
            case "header":
                return [_header(_decode(_HEADER, envelope.value, where), where)]
            case "file":
                return _file(_decode(_FILE, envelope.value, where), where, self._max_content)
            case "lfsFile":
                return _lfs_file(_decode(_LFS_FILE, envelope.value, where), where)
            case "deletedFile" | "deletedEntry":
                return _deleted(_decode(_DELETED, envelope.value, where), where)
            case "deletedFolder":
                return _deleted_folder(_decode(_DELETED, envelope.value, where), where)
            case _:
                raise Invalid(UNKNOWN_KEY)


def parse_commit_json(body: bytes, max_content: int) -> list[Line]:
    """
    The lines of a commit in one JSON body, as the Hub's OpenAPI has it (HUB 8.3).

    The lists say nothing of their order among each other; what is deleted goes first, so that a file may take
    a folder's place.
    """
    wire = _decode(_BODY, body, "The body")
    lines: list[Line] = [_header(wire, "The body")]
    for name, deleted in (("deletedFiles", wire.deleted_files), ("deletedEntries", wire.deleted_entries)):
        for index, item in enumerate(deleted):
            lines += _deleted(item, f"{name}[{index}]")
    for index, item in enumerate(wire.deleted_folders):
        lines += _deleted_folder(item, f"deletedFolders[{index}]")
    for index, file in enumerate(wire.files):
        lines += _file(file, f"files[{index}]", max_content)
    for index, lfs_file in enumerate(wire.lfs_files):
        lines += _lfs_file(lfs_file, f"lfsFiles[{index}]")
    if len(lines) == 1:
        raise Invalid(UNKNOWN_KEY)
    return lines


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that a client means to upload: its size in bytes and its first bytes, at most 512."""

    path: str
    size: int
    sample: bytes


@dataclass(frozen=True, slots=True)
class Preupload:
    """Which files a client means to upload, and the rules that it brings along instead of the repo's."""

    files: tuple[Candidate, ...]
    gitattributes: str | None = None
    gitignore: str | None = None


class _Candidate(msgspec.Struct):
    path: str
    size: _Size
    sample: str = ""


class _Preupload(msgspec.Struct, rename="camel"):
    files: list[_Candidate]
    git_attributes: str | None = None
    git_ignore: str | None = None


_PREUPLOAD = msgspec.json.Decoder(_Preupload)


def parse_preupload(body: bytes) -> Preupload:
    """The question of `preupload` (CLIENT_API 3, HUB 8.2). Raises `Invalid`, `InvalidPath` or `TooLarge`."""
    wire = _decode(_PREUPLOAD, body, "The body")
    if len(wire.files) > _MOST_CANDIDATES:
        raise TooLarge(
            f"{len(wire.files)} files at once are too many, {_MOST_CANDIDATES} may be asked about.",
            hint="Ask in several requests.",
        )
    for text in (wire.git_attributes, wire.git_ignore):
        if text is not None and len(text) > _MAX_RULES_TEXT:
            raise TooLarge(f"`gitAttributes` and `gitIgnore` may have {_MAX_RULES_TEXT} characters")
    candidates = []
    for index, file in enumerate(wire.files):
        where = f"files[{index}]"
        sample = _content(file.sample, "base64", where)[:_SAMPLE]
        candidates.append(Candidate(_path(file.path, where), file.size, sample))
    return Preupload(tuple(candidates), wire.git_attributes, wire.git_ignore)
