"""
What another Hub says, read: its JSON as values that the rest of hubreg may rely on.

The shapes are `formats.hubjson`'s, but what is read comes from outside. An id is checked to be one, a path to be one
that a repo may hold, a size to be a size; null is as good as absent, unknown keys are passed over. Whatever does not
hold makes the whole answer `UpstreamFailed`, in a sentence that says what upstream did: of half an answer nothing is
kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct, field

from hubreg.errors import Invalid, UpstreamFailed
from hubreg.formats import names
from hubreg.model import CommitId, Entry, EntryKind, Millis, Oid, RepoType, Sha256

T = TypeVar("T")

LARGEST = 1 << 50  # bytes of a file; the Hub's are 500 GB at most
_TAGS, _TAG = 1000, 300  # how many a repo may have, and of how many characters
_CARD = 1 << 20  # bytes of JSON
_OID = re.compile("[0-9a-f]{40}")
_SHA256 = re.compile("[0-9a-f]{64}")
_LINK = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?', re.IGNORECASE)
_LATEST = 253_402_300_799_000  # the last millisecond of the year 9999
_MOST = (1 << 53) - 1  # of a count
_NONE = Raw(b"{}")


class _Read(Struct, frozen=True, kw_only=True, rename="camel"):
    """What these have in common."""


class _Lfs(_Read, frozen=True, kw_only=True):
    oid: str
    size: int
    pointer_size: int | None = None


class _Item(_Read, frozen=True, kw_only=True):
    type: str
    oid: str
    size: int | None = None
    path: str
    lfs: _Lfs | None = None


def parse_tree(body: bytes) -> list[Entry]:
    """A page of a tree, or an answer to paths-info (HUB 5.3). What is neither file nor folder is left out."""
    return [entry for item in _parse(body, list[_Item], "a listing") if (entry := _entry(item)) is not None]


def _entry(item: _Item) -> Entry | None:
    try:
        names.check_path(item.path)
    except Invalid as error:
        raise UpstreamFailed(
            f"The upstream's listing has a path that no repo may hold. {error.message}"
        ) from error
    oid = _oid(item.oid)
    if item.type == "directory":
        return Entry(item.path, EntryKind.DIRECTORY, oid)
    if item.type != "file":
        return None
    if item.lfs is None:
        return Entry(item.path, EntryKind.FILE, oid, _size(item.size, item.path))
    if not _SHA256.fullmatch(item.lfs.oid):
        raise UpstreamFailed(f"The upstream's listing has {item.lfs.oid[:80]!r} for a sha256.")
    size, pointer = _size(item.lfs.size, item.path), item.lfs.pointer_size or 0
    return Entry(
        item.path, EntryKind.FILE, oid, size, Sha256(item.lfs.oid), lfs=True, pointer_size=min(max(0, pointer), 1024)
    )  # fmt: skip


def _oid(text: str) -> Oid:
    if not _OID.fullmatch(text):
        raise UpstreamFailed(f"The upstream has {text[:80]!r} where git's id of something should be.")
    return Oid(text)


def _size(size: int | None, path: str) -> int:
    if size is None or not 0 <= size <= LARGEST:
        raise UpstreamFailed(f"The upstream says that {path!r} has {size} bytes.")
    return size


# repos


@dataclass(frozen=True, slots=True)
class Info:
    """What a Hub says of a repo at a revision. `card` and `config` are JSON objects; `sha` is None of an empty repo."""

    name: str
    sha: CommitId | None
    private: bool
    gated: str  # "", "auto" or "manual"
    disabled: bool
    sdk: str
    created_at: Millis
    modified_at: Millis
    likes: int
    downloads: int
    tags: tuple[str, ...]
    pipeline_tag: str
    library: str
    card: str
    config: str


class _Info(_Read, frozen=True, kw_only=True):
    id: str
    sha: str | None = None
    private: bool | None = None
    gated: bool | str | None = None
    disabled: bool | None = None
    sdk: str | None = None
    created_at: str | None = None
    last_modified: str | None = None
    likes: int | None = None
    downloads: int | None = None
    tags: list[str] | None = None
    pipeline_tag: str | None = field(name="pipeline_tag", default=None)
    library_name: str | None = field(name="library_name", default=None)
    card_data: Raw = _NONE
    config: Raw = _NONE


# What is asked for of a repo, by `expand`: without it comes the list of all files, which may be a million.
ASKED: dict[RepoType, tuple[str, ...]] = {
    RepoType.MODEL: tuple(
        "cardData config createdAt disabled downloads gated lastModified library_name likes pipeline_tag private sha"
        " tags".split()
    ),
    RepoType.DATASET: tuple(
        "cardData createdAt disabled downloads gated lastModified likes private sha tags".split()
    ),
    RepoType.SPACE: tuple("cardData createdAt disabled lastModified likes private sdk sha tags".split()),
}


def parse_info(body: bytes) -> Info:
    """Repo info (HUB 5.1)."""
    said = _parse(body, _Info, "a repo")
    try:
        names.parse_repo_id(said.id)
    except Invalid as error:
        raise UpstreamFailed(f"The upstream calls a repo {said.id[:200]!r}.") from error
    gated = said.gated if isinstance(said.gated, str) else "manual" if said.gated else ""
    return Info(
        name=said.id,
        sha=CommitId(_oid(said.sha)) if said.sha else None,
        private=bool(said.private),
        gated=gated if gated in ("", "auto", "manual") else "manual",
        disabled=bool(said.disabled),
        sdk=_word(said.sdk),
        created_at=_time(said.created_at),
        modified_at=_time(said.last_modified),
        likes=_count(said.likes),
        downloads=_count(said.downloads),
        tags=tuple(filter(None, map(_word, (said.tags or ())[:_TAGS]))),
        pipeline_tag=_word(said.pipeline_tag),
        library=_word(said.library_name),
        card=_object(said.card_data),
        config=_object(said.config),
    )


def _word(text: str | None) -> str:
    """Something short to be shown; what is not is none."""
    return text if text and len(text) <= _TAG and text.isprintable() else ""


def _count(number: int | None) -> int:
    return min(max(0, number or 0), _MOST)


def _object(raw: Raw) -> str:
    """A JSON object that is to be kept as text. Anything else, or one that is too large, is an empty one."""
    text = bytes(raw)
    try:
        return text.decode() if text[:1] == b"{" and len(text) <= _CARD else "{}"
    except UnicodeDecodeError:
        return "{}"


def _time(text: str | None) -> Millis:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return Millis(0)
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return Millis(min(max(0, round(seconds * 1000)), _LATEST))


# refs and commits


class _Ref(_Read, frozen=True, kw_only=True):
    ref: str
    target_commit: str


class _Refs(_Read, frozen=True, kw_only=True):
    branches: list[_Ref] | None = None
    tags: list[_Ref] | None = None
    converts: list[_Ref] | None = None
    pull_requests: list[_Ref] | None = None


def parse_refs(body: bytes) -> list[tuple[str, CommitId]]:
    """Every ref by its full name (HUB 5.5), once. What has no name of a ref is left out: nobody could ask for it."""
    said = _parse(body, _Refs, "refs")
    found: dict[str, CommitId] = {}
    for ref in [
        *(said.branches or ()),
        *(said.tags or ()),
        *(said.converts or ()),
        *(said.pull_requests or ()),
    ]:
        commit = CommitId(_oid(ref.target_commit))
        if is_ref(ref.ref):
            found.setdefault(ref.ref, commit)
    return list(found.items())


def is_ref(name: str) -> bool:
    """Whether this is the full name of a branch, a tag, a conversion or a pull request."""
    for prefix in ("refs/heads/", "refs/tags/", "refs/convert/"):
        if name.startswith(prefix):
            try:
                names.check_branch(name.removeprefix(prefix))
            except Invalid:
                return False
            return True
    return re.fullmatch("refs/pr/[0-9]{1,9}", name) is not None


@dataclass(frozen=True, slots=True)
class Said:
    """A commit as a Hub lists it."""

    id: CommitId
    title: str
    message: str
    authors: tuple[str, ...]
    at: Millis


class _Author(_Read, frozen=True, kw_only=True):
    user: str | None = None


class _Commit(_Read, frozen=True, kw_only=True):
    id: str
    title: str | None = None
    message: str | None = None
    authors: list[_Author] | None = None
    date: str | None = None


def parse_commits(body: bytes) -> list[Said]:
    """A page of commits, newest first (HUB 5.5)."""
    return [
        Said(
            CommitId(_oid(item.id)),
            item.title or "",
            item.message or "",
            tuple(author.user for author in item.authors or () if author.user),
            _time(item.date),
        )
        for item in _parse(body, list[_Commit], "commits")
    ]


# refusals and pages


class _Error(Struct, frozen=True):
    error: str | list[str] | None = None
    message: str | None = None


def parse_error(body: bytes) -> str | None:
    """The sentence in an error's body (HUB 4.1); None where it is none of a Hub's."""
    try:
        said = msgspec.json.decode(body, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    text = " ".join(said.error) if isinstance(said.error, list) else said.error
    return text or said.message


def next_page(link: str | None) -> str | None:
    """
    The URL of the next page in a `Link` header: where to go on, never whom to ask. Only its path and query count: the
    host is whoever was asked (PITFALLS 13).
    """
    match = _LINK.search(link or "")
    return match[1] if match else None


def _parse(body: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        begins = body[:40].decode("utf-8", "replace")
        raise UpstreamFailed(
            f"The upstream answered something else than {what} in JSON ({error}); it begins {begins!r}."
        ) from error
