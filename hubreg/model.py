"""The words hubreg is about. Values only: nothing here does I/O, and everything is frozen."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NewType

Sha256 = NewType("Sha256", str)  # 64 lower-case hex digits, of content
XetHash = NewType("XetHash", str)  # 64 lower-case hex digits, of a xorb or a file, in Xet's string form
Oid = NewType("Oid", str)  # 40 lower-case hex digits, git's name of a blob or tree
CommitId = NewType("CommitId", str)  # 40 lower-case hex digits, of a git commit
Millis = NewType("Millis", int)  # milliseconds since 1970 UTC


class RepoType(enum.StrEnum):
    """The three kinds of repo. The value is the word in JSON bodies; URLs use `plural` and `web`."""

    MODEL = "model"
    DATASET = "dataset"
    SPACE = "space"

    @property
    def plural(self) -> str:
        """The segment in API URLs: `/api/{plural}/...`."""
        return f"{self.value}s"

    @property
    def web(self) -> str:
        """What precedes the repo id in page, resolve and git URLs; models have nothing."""
        return "" if self is RepoType.MODEL else f"{self.value}s/"


@dataclass(frozen=True, slots=True)
class RepoId:
    type: RepoType
    namespace: str
    name: str

    @property
    def full(self) -> str:
        """`namespace/name`, as in JSON."""
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return f"{self.type.web}{self.namespace}/{self.name}"


class OrgRole(enum.StrEnum):
    """A member's role in an organisation, weakest first, as the Hub names them."""

    READ = "read"
    CONTRIBUTOR = "contributor"
    WRITE = "write"
    ADMIN = "admin"


class TokenRole(enum.StrEnum):
    READ = "read"
    WRITE = "write"


class Action(enum.StrEnum):
    """What somebody wants to do with a repo; `identity.access` decides."""

    KNOW = "know"  # learn that it exists: info, settings, lists
    READ = "read"  # list and read its files
    PROPOSE = "propose"  # open a pull request or discussion
    WRITE = "write"  # commit, branch, tag
    MANAGE = "manage"  # delete, move, change settings


@dataclass(frozen=True, slots=True)
class Actor:
    """
    Who asks. `user_id` 0 is anonymous; `roles` are the namespaces the user acts in, lower-cased, with the role there.

    `invalid_token` marks a caller who sent a token that is not ours: anonymous for public content, told so elsewhere.
    `foreign_token` is that token, for an upstream whose it may be, where a rule of the mirror lets it through.
    """

    user_id: int = 0
    name: str = ""
    admin: bool = False
    token_role: TokenRole | None = None
    token_name: str = ""
    token_created_at: Millis = Millis(0)
    roles: dict[str, OrgRole] = field(default_factory=dict)
    invalid_token: bool = False
    foreign_token: str = field(default="", repr=False, compare=False)

    @property
    def anonymous(self) -> bool:
        return self.user_id == 0


ANONYMOUS = Actor()
INVALID_TOKEN = Actor(invalid_token=True)


class EntryKind(enum.StrEnum):
    FILE = "file"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One path of a snapshot.

    `oid` is git's name of the tree entry: the blob's SHA-1, or the pointer's for a file in LFS, or the tree's. `size`
    is the content's size in bytes, 0 for a directory. `sha256` names the content of a file; `lfs` says whether git
    holds the content itself or a pointer of `pointer_size` bytes. `here` is False of a mirrored file whose content has
    not come yet: then `sha256` is what upstream says, None of a regular file.
    """

    path: str
    kind: EntryKind
    oid: Oid
    size: int = 0
    sha256: Sha256 | None = None
    lfs: bool = False
    pointer_size: int = 0
    here: bool = True

    @property
    def etag(self) -> str:
        """The name clients keep the content under: sha256 for LFS, git's SHA-1 for the rest. The same everywhere."""
        return str(self.sha256) if self.lfs else self.oid


@dataclass(frozen=True, slots=True)
class Signature:
    """Who made a git commit, and when: seconds since 1970 UTC, written with offset +0000."""

    name: str
    email: str
    seconds: int


@dataclass(frozen=True, slots=True)
class GitCommit:
    """A commit as git hashes it. `message` is the whole text, title first."""

    tree: Oid
    parents: tuple[CommitId, ...]
    author: Signature
    committer: Signature
    message: str


# What a commit asks for, in the order the client listed it. Paths are already checked.


@dataclass(frozen=True, slots=True)
class AddFile:
    """A regular file whose bytes came inline and are kept by `sha256` already."""

    path: str
    oid: Oid
    sha256: Sha256
    size: int


@dataclass(frozen=True, slots=True)
class AddLfs:
    """A file whose content is in large file storage. `size` is None where the client leaves it out (copies)."""

    path: str
    sha256: Sha256
    size: int | None


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Delete a path; a folder at that path goes with all it holds."""

    path: str


@dataclass(frozen=True, slots=True)
class DeleteFolder:
    path: str


@dataclass(frozen=True, slots=True)
class CopyFile:
    """Put at `path` what `source` holds at `revision` of the same repo (default: the parent commit)."""

    path: str
    source: str
    revision: str | None = None


Operation = AddFile | AddLfs | DeleteFile | DeleteFolder | CopyFile


@dataclass(frozen=True, slots=True)
class CommitHeader:
    summary: str
    description: str = ""
    parent: str | None = None  # 5 to 40 hex digits


@dataclass(frozen=True, slots=True)
class CommitPlan:
    header: CommitHeader
    operations: tuple[Operation, ...]
