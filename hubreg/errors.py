"""
Every way hubreg refuses or fails, in one tree:

    HubregError                500
    ├── Unauthenticated        401
    │   └── InvalidCredentials
    ├── NotFound               404
    │   ├── RepoNotFound
    │   │   └── RepoHidden     401
    │   ├── RevisionNotFound
    │   ├── EntryNotFound
    │   ├── AccountNotFound
    │   └── DiscussionNotFound
    ├── Refused                403
    │   ├── GatedRepo
    │   │   └── GatedAnonymous 401
    │   ├── RepoDisabled
    │   └── LinkRefused
    ├── Invalid                400
    │   ├── InvalidPath        422
    │   ├── RangeUnsatisfiable 416
    │   ├── MethodNotAllowed   405
    │   └── TooLarge           413
    ├── Conflict               409
    │   ├── RepoExists
    │   └── Moved              412
    ├── Unsupported            501
    ├── UpstreamFailed         424
    │   ├── UpstreamUnreachable 502
    │   ├── UpstreamTimeout    504
    │   └── UpstreamBusy       429
    ├── StorageFull            507
    ├── Damaged                500
    ├── Busy                   503
    └── Unusable               500

The words in `code` are part of the wire: the Hub's clients choose their own exception by the header
`X-Error-Code`, so `RepoNotFound`, `RevisionNotFound`, `EntryNotFound` and `GatedRepo` keep the Hub's
spelling. Code below `hubreg.api` raises these and knows nothing of HTTP but the number in `status`;
`hubreg.api.boundary` is the one place that turns them into a response.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class HubregError(Exception):
    """
    The root. `message` is for the person who asked; `hint` says what they can do about it.

    `headers` and `body` are facts of this one refusal that the wire carries beside the message: the commit
    at which an entry is missing (`X-Repo-Commit`), the URL of the repo that exists already. `fleeting`: the same
    request may be answered otherwise though nothing was written here.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.headers = dict(headers or {})
        self.body = dict(body or {})
        self.fleeting = False

    def __init_subclass__(cls) -> None:
        # A subclass that exists only for its status (401 in place of 404) keeps its parent's wire word.
        cls.code = cls.__dict__.get("code", cls.__name__)


class Unauthenticated(HubregError):
    """The request needs a caller and has none."""

    status = 401


class InvalidCredentials(Unauthenticated):
    """A token was sent and is not one of ours. The client knows this message word for word."""

    MESSAGE = "Invalid credentials in Authorization header"


class NotFound(HubregError):
    """What is asked for is not there, or not for this actor to know of."""

    status = 404


class RepoNotFound(NotFound):
    """No such repo, or none that this actor may know of."""


class RepoHidden(RepoNotFound):
    """The same, said to somebody without credentials: the Hub answers 401 and nothing tells the two apart."""

    status = 401
    code = "RepoNotFound"


class RevisionNotFound(NotFound):
    """The repo exists; the branch, tag, stage or commit does not."""


class EntryNotFound(NotFound):
    """The revision exists; nothing is at that path."""


class AccountNotFound(NotFound):
    """No such user or organisation."""


class DiscussionNotFound(NotFound):
    """The repo has no discussion or pull request of that number."""


class Refused(HubregError):
    """The actor is known, and may not do this."""

    status = 403


class GatedRepo(Refused):
    """The actor may know of the repo, but has not been let in."""


class GatedAnonymous(GatedRepo):
    """The same, said to somebody without credentials."""

    status = 401
    code = "GatedRepo"


class RepoDisabled(Refused):
    """The repo is switched off. The client knows this message word for word."""

    MESSAGE = "Access to this resource is disabled."


class LinkRefused(Refused):
    """A signed URL is expired, altered, or used for something it was not signed for."""


class Invalid(HubregError):
    """The request is not one that can be carried out, whoever sends it."""

    status = 400


class InvalidPath(Invalid):
    """A path that no repo may hold."""

    status = 422


class RangeUnsatisfiable(Invalid):
    """The requested range starts at or past the end."""

    status = 416


class MethodNotAllowed(Invalid):
    """The URL exists, for another method."""

    status = 405


class TooLarge(Invalid):
    """More bytes than announced, allowed or paid for."""

    status = 413


class Conflict(HubregError):
    """What is there already is in the way."""

    status = 409


class RepoExists(Conflict):
    """A repo of that name exists; `body` carries its `url`."""


class Moved(Conflict):
    """A ref no longer points where the writer last saw it."""

    status = 412


class Unsupported(HubregError):
    """A call of the Hub's API that hubreg does not have. 501 and not 500: clients retry 500 for 23 seconds."""

    status = 501


class UpstreamFailed(HubregError):
    """
    The upstream Hub answered what cannot be used: HTML, a loop of redirects, a wrong byte. 424 and not a 5xx: to ask
    again at once would not help, and clients ask again for 23 seconds. Its kinds are what may pass by itself. None is
    ever said in a Hub's word: what could not be asked is not "not found" (PITFALLS 8).
    """

    status = 424


class UpstreamUnreachable(UpstreamFailed):
    """The upstream Hub cannot be reached, or says that it is out of order."""

    status = 502


class UpstreamTimeout(UpstreamFailed):
    """The upstream Hub took too long."""

    status = 504


class UpstreamBusy(UpstreamFailed):
    """The upstream Hub has had enough requests from here; `Retry-After` says for how long, where it said so."""

    status = 429


class StorageFull(HubregError):
    """
    The server's disk, or its user's share of it, is full: nothing of the write was kept. huggingface_hub does not ask
    again on 507, hf_xet does a few times.
    """

    status = 507
    MESSAGE = "The server's disk is full: nothing was stored."


class Damaged(HubregError):
    """Bytes do not match their digest: never published, never served."""


class Busy(HubregError):
    """The server cannot take this now and will later; clients retry."""

    status = 503


class Unusable(HubregError):
    """The data directory, the configuration or the machine does not let hubreg start. Said by the CLI."""
