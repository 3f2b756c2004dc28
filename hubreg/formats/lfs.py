"""
Git's large file storage as the Hub speaks it: the pointer that git holds in place of a file, and the JSON of
the batch call and of what follows it (CLIENT_API 3.1, HUB 8.4).

Requests are checked as they are parsed: whatever comes out has lower-case sha256 names and sizes that are no
negative numbers. Which object is here, who may send one and where to are the caller's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec

from hubreg.errors import Invalid, TooLarge
from hubreg.model import Sha256

MEDIA_TYPE = "application/vnd.git-lfs+json"

_MAX_POINTER = 1024  # bytes; git-lfs takes nothing longer for a pointer
_MAX_OBJECTS = 1000  # clients send 100 or 256
_MAX_PARTS = 10_000  # as of S3

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"(?:ext-[0-9]-[A-Za-z0-9]+ sha256:[0-9a-f]{64}\n)*"
    rb"oid sha256:([0-9a-f]{64})\n"
    rb"size (0|[1-9][0-9]{0,15})\n?"
)


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a pointer says of the content: its sha256 and its size in bytes."""

    sha256: Sha256
    size: int


def render_pointer(sha256: Sha256, size: int) -> bytes:
    """The text that git holds in place of the content, as git-lfs writes it."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def parse_pointer(data: bytes) -> Pointer | None:
    """What the text points to, or None if it is no pointer."""
    match = _POINTER.fullmatch(data) if len(data) <= _MAX_POINTER else None
    return Pointer(Sha256(match[1].decode()), int(match[2])) if match else None


def stands_for(data: bytes) -> Pointer | None:
    """
    The pointer, if `data` is what `render_pointer` makes of it. Only then may the content be kept in the text's place:
    another spelling would not get its own bytes back.
    """
    pointer = parse_pointer(data)
    return pointer if pointer and render_pointer(pointer.sha256, pointer.size) == data else None


# The batch call

BASIC, MULTIPART, XET = "basic", "multipart", "xet"  # the transfers that hubreg knows

_Oid = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Wanted(msgspec.Struct, frozen=True):
    """An object that a client wants to send, fetch or have verified."""

    oid: _Oid
    size: _Size

    @property
    def sha256(self) -> Sha256:
        return Sha256(self.oid)


class GitRef(msgspec.Struct, frozen=True):
    name: str


class BatchRequest(msgspec.Struct, frozen=True):
    """
    `transfers` are the ways that the client knows, best first; an old git-lfs names none and knows `basic`.
    """

    operation: Literal["upload", "download"]
    objects: tuple[Wanted, ...]
    transfers: tuple[str, ...] = ("basic",)
    hash_algo: Literal["sha256", "sha_256"] = "sha256"  # the JS client writes the second
    ref: GitRef | None = None


class Action(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Where to send or fetch. The `href` authorises itself: clients send it no credentials (CLIENT_API 10, 4).
    """

    href: str
    header: Mapping[str, str] | None = None
    expires_in: int | None = None  # seconds


class ObjectError(msgspec.Struct, frozen=True):
    code: int  # an HTTP status
    message: str


class BatchObject(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer for one object. Without `actions` and `error` it is here already."""

    oid: str
    size: int
    authenticated: bool = False
    actions: Mapping[str, Action] | None = None  # by "upload", "verify", "download"
    error: ObjectError | None = None


class BatchResponse(msgspec.Struct, frozen=True):
    transfer: str
    objects: tuple[BatchObject, ...]


class Part(msgspec.Struct, frozen=True, rename="camel"):
    part_number: Annotated[int, msgspec.Meta(ge=1, le=_MAX_PARTS)]
    etag: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Completion(msgspec.Struct, frozen=True):
    """The parts of a multipart upload that the client has sent, in the order of their numbers."""

    oid: _Oid
    parts: tuple[Part, ...]


_BATCH = msgspec.json.Decoder(BatchRequest)
_COMPLETION = msgspec.json.Decoder(Completion)
_WANTED = msgspec.json.Decoder(Wanted)

T = TypeVar("T")


def parse_batch(body: bytes) -> BatchRequest:
    """
    Raises `Invalid`, and `TooLarge` for more objects than a client sends: git-lfs then sends fewer at a time.
    """
    request = _decode(_BATCH, body)
    if len(request.objects) > _MAX_OBJECTS:
        raise TooLarge(f"A batch may name {_MAX_OBJECTS} objects.")
    return request


def parse_completion(body: bytes) -> Completion:
    """The end of a multipart upload. Raises `Invalid`, also for a part that is named twice."""
    completion = _decode(_COMPLETION, body)
    parts = tuple(sorted(completion.parts, key=lambda part: part.part_number))
    if len({part.part_number for part in parts}) < len(parts):
        raise Invalid("A part is named twice.")
    return Completion(completion.oid, parts)


def parse_verify(body: bytes) -> Pointer:
    """The question whether an object has arrived. Raises `Invalid`."""
    wanted = _decode(_WANTED, body)
    return Pointer(wanted.sha256, wanted.size)


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Invalid(f"This is not what git-lfs sends: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("The body is not valid JSON in UTF-8.") from error


def part_count(size: int, part_size: int) -> int:
    """Exactly as many parts as clients count: ceil(size / part_size)."""
    return -(-size // part_size)


def multipart_header(part_size: int, urls: Iterable[str]) -> dict[str, str]:
    """
    What `Action.header` carries for a multipart upload: the part size as text, and a URL by each part's
    number.
    """
    numbered = {f"{number:05}": url for number, url in enumerate(urls, 1)}
    return {"chunk_size": str(part_size), **numbered}
