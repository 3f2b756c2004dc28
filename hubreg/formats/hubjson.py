"""
The Hub's JSON, as values: the API renders them, and whoever reads a Hub parses them.

Keys stand in the order in which the Hub was seen to send them. What is not known is left out, never null (PITFALLS 30),
but for the few keys that clients index without looking: those have no default here. Unknown keys of a Hub are ignored
on reading. Names are the JSON's own where Python allows it; `encode_name` of msgspec knows the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from hubreg.errors import Invalid
from hubreg.formats.vocabulary import TASKS
from hubreg.model import Entry, EntryKind, Millis, RepoType, XetHash

encode = msgspec.json.Encoder().encode

# What `expand` may name, in the Hub's order (HUB 5.1, CLIENT_API 5): a test of the client compares its own list with
# the sentence that refuses others.
EXPANDABLE: dict[RepoType, tuple[str, ...]] = {
    RepoType.MODEL: tuple(
        "author baseModels cardData childrenModelCount config createdAt disabled downloads downloadsAllTime evalResults"
        " gated gguf inference inferenceProviderMapping lastModified library_name likes mask_token model-index"
        " pipeline_tag private resourceGroup safetensors sha siblings spaces tags transformersInfo trendingScore"
        " usedStorage widgetData".split()
    ),
    RepoType.DATASET: tuple(
        "author cardData citation createdAt description disabled downloads downloadsAllTime gated lastModified likes"
        " mainSize paperswithcode_id private resourceGroup sha siblings tags trendingScore usedStorage".split()
    ),
    RepoType.SPACE: tuple(
        "author cardData createdAt datasets disabled lastModified likes models private region resourceGroup runtime sdk"
        " sha siblings subdomain tags trendingScore usedStorage".split()
    ),
}
_INTERNAL = (
    "gitalyUid",
    "xetEnabled",
)  # the Hub lets them be asked for and documents them nowhere; 0.36 asks


def iso(at: Millis) -> str:
    """A time as the Hub writes it, `2022-03-02T23:29:05.000Z`: clients want the `Z` (CLIENT_API 0)."""
    moment = datetime.fromtimestamp(at // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at % 1000:03d}Z"


class Hub(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What all of these have in common."""


# listings


class TreeLfs(Hub, frozen=True, kw_only=True):
    """In trees the sha256 is called `oid`."""

    oid: str
    size: int
    pointer_size: int


class LastCommit(Hub, frozen=True, kw_only=True):
    id: str
    title: str
    date: str


class Scan(Hub, frozen=True, kw_only=True):
    status: str


class SecurityStatus(Hub, frozen=True, kw_only=True):
    """The client indexes all three keys where the object is there at all (HUB 5.3)."""

    status: str
    av_scan: Scan
    pickle_import_scan: Scan


class TreeItem(Hub, frozen=True, kw_only=True):
    """An entry of `tree` and `paths-info`. `path` is the whole path; a folder's `size` is 0."""

    type: Literal["file", "directory"]
    oid: str
    size: int
    lfs: TreeLfs | UnsetType = UNSET
    xet_hash: str | UnsetType = UNSET
    path: str
    last_commit: LastCommit | UnsetType = UNSET
    security_file_status: SecurityStatus | UnsetType = UNSET


_UNSCANNED = SecurityStatus(
    status="unscanned", av_scan=Scan(status="unscanned"), pickle_import_scan=Scan(status="unscanned")
)


def tree_item(
    entry: Entry, last: LastCommit | None = None, *, xet_hash: XetHash | None = None, expand: bool = False
) -> TreeItem:
    """
    An entry as `tree` shows it; `expand` adds who changed it last and what scanners think, for files. `xet_hash`
    promises that the file can be fetched by Xet: clients ask nobody else first.
    """
    is_file = entry.kind is EntryKind.FILE
    return TreeItem(
        type="file" if is_file else "directory",
        oid=entry.oid,
        size=entry.size,
        path=_text(entry.path),
        lfs=TreeLfs(oid=str(entry.sha256), size=entry.size, pointer_size=entry.pointer_size)
        if entry.lfs
        else UNSET,
        xet_hash=xet_hash if entry.lfs and xet_hash is not None else UNSET,
        last_commit=last if expand and last is not None else UNSET,
        security_file_status=_UNSCANNED if expand and is_file else UNSET,
    )


def _text(path: str) -> str:
    """A path as JSON can hold it: git's may be no UTF-8, and have surrogates for what is not."""
    return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class SiblingLfs(Hub, frozen=True, kw_only=True):
    """In siblings the sha256 is called `sha256`."""

    sha256: str
    size: int
    pointer_size: int


class Sibling(Hub, frozen=True, kw_only=True):
    rfilename: str
    blob_id: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    lfs: SiblingLfs | UnsetType = UNSET


def sibling(entry: Entry, *, blobs: bool = False) -> Sibling:
    """A file as repo info lists it; its size and ids only with `blobs`."""
    path = _text(entry.path)
    if not blobs:
        return Sibling(rfilename=path)
    lfs = SiblingLfs(sha256=str(entry.sha256), size=entry.size, pointer_size=entry.pointer_size)
    return Sibling(rfilename=path, blob_id=entry.oid, size=entry.size, lfs=lfs if entry.lfs else UNSET)


# repos


class RepoInfo(Hub, frozen=True, kw_only=True):
    """A repo, in full or a row of a list. Everything but the two ids may be absent."""

    public_id: str = field(name="_id")
    id: str
    model_id: str | UnsetType = UNSET
    author: str | UnsetType = UNSET
    sha: str | UnsetType = UNSET
    last_modified: str | UnsetType = UNSET
    private: bool | UnsetType = UNSET
    gated: Literal[False, "auto", "manual"] | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    downloads: int | UnsetType = UNSET
    downloads_all_time: int | UnsetType = UNSET
    likes: int | UnsetType = UNSET
    trending_score: float | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    pipeline_tag: str | UnsetType = field(name="pipeline_tag", default=UNSET)
    library_name: str | UnsetType = field(name="library_name", default=UNSET)
    mask_token: str | UnsetType = field(name="mask_token", default=UNSET)
    sdk: str | UnsetType = UNSET
    subdomain: str | UnsetType = UNSET
    runtime: Raw | UnsetType = UNSET
    models: list[str] | UnsetType = UNSET
    datasets: list[str] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    citation: str | UnsetType = UNSET
    model_index: Raw | UnsetType = field(name="model-index", default=UNSET)
    config: Raw | UnsetType = UNSET
    card_data: Raw | UnsetType = UNSET
    transformers_info: Raw | UnsetType = UNSET
    widget_data: Raw | UnsetType = UNSET
    safetensors: Raw | UnsetType = UNSET
    gguf: Raw | UnsetType = UNSET
    siblings: list[Sibling] | UnsetType = UNSET
    spaces: list[str] | UnsetType = UNSET
    created_at: str | UnsetType = UNSET
    used_storage: int | UnsetType = UNSET
    xet_enabled: bool | UnsetType = UNSET
    security_repo_status: Raw | UnsetType = UNSET


_ENCODED = {f.name: f.encode_name for f in msgspec.structs.fields(RepoInfo)}
ALWAYS = ("_id", "id")


def check_expand(type_: RepoType, asked: Sequence[str]) -> None:
    """Raise the Hub's 400 for a value of `expand` that there is not: clients read the values off it (CLIENT_API 1)."""
    allowed = (*EXPANDABLE[type_], *_INTERNAL)
    for place, value in enumerate(asked):
        if value not in allowed:
            options = "|".join(f'"{option}"' for option in allowed)
            raise Invalid(f"✖ Invalid option: expected one of {options}\n  → at expand[{place}]")


# What repo info has when nothing is chosen, beside the two ids (recorded: `model-info-revision-private-200`).
_BY_DEFAULT = (
    "author sha lastModified private gated disabled downloads likes tags cardData siblings createdAt usedStorage"
    " securityRepoStatus".split()
)
_BY_DEFAULT_TOO = {
    RepoType.MODEL: "modelId pipeline_tag library_name model-index config spaces".split(),
    RepoType.DATASET: [],
    RepoType.SPACE: "sdk subdomain runtime models datasets".split(),
}


def default_keys(type_: RepoType) -> list[str]:
    return _BY_DEFAULT + _BY_DEFAULT_TOO[type_]


def chosen(info: RepoInfo, keys: Sequence[str]) -> dict[str, Any]:
    """Of a repo the two ids and the keys that `expand` names, as far as they are known."""
    wanted = {*ALWAYS, *keys}
    return {
        encoded: value
        for name, encoded in _ENCODED.items()
        if encoded in wanted and (value := getattr(info, name)) is not UNSET
    }


# commits and refs


class CommitAuthor(Hub, frozen=True, kw_only=True):
    user: str
    avatar: str


class Formatted(Hub, frozen=True, kw_only=True):
    """HTML. A message that is plain text is its own HTML once escaped."""

    title: str
    message: str


class CommitItem(Hub, frozen=True, kw_only=True):
    id: str
    title: str
    message: str
    authors: list[CommitAuthor]
    date: str
    formatted: Formatted | UnsetType = UNSET


class Ref(Hub, frozen=True, kw_only=True):
    name: str
    ref: str
    target_commit: str


class RefLists(Hub, frozen=True, kw_only=True):
    """All three lists are always there; pull requests only when asked for (HUB 5.5)."""

    tags: list[Ref]
    branches: list[Ref]
    converts: list[Ref]
    pull_requests: list[Ref] | UnsetType = UNSET


class CommitDone(Hub, frozen=True, kw_only=True):
    """The answer to a commit, in the recorded order of keys."""

    success: bool
    commit_oid: str
    commit_url: str
    hook_output: str | UnsetType = UNSET
    pull_request_url: str | UnsetType = UNSET


class UploadMode(Hub, frozen=True, kw_only=True):
    """`shouldIgnore` is indexed without looking (CLIENT_API 3). `oid` is what the path holds now."""

    path: str
    upload_mode: Literal["lfs", "regular"]
    should_ignore: bool
    oid: str | UnsetType = UNSET


class UploadModes(Hub, frozen=True, kw_only=True):
    files: list[UploadMode]
    commit_oid: str


class LargeFile(Hub, frozen=True, kw_only=True):
    """A row of `lfs-files`. `fileOid` is what a deletion would name."""

    file_oid: str
    filename: str
    oid: str
    pushed_at: str
    ref: str | UnsetType = UNSET
    size: int
    xet_hash: str | UnsetType = UNSET


# people


class AccessToken(Hub, frozen=True, kw_only=True):
    display_name: str
    role: str
    created_at: str


class Auth(Hub, frozen=True, kw_only=True):
    type: str
    access_token: AccessToken


class OrgOfUser(Hub, frozen=True, kw_only=True):
    type: str
    id: str
    name: str
    fullname: str
    email: str | None
    can_pay: bool
    period_end: int | None
    avatar_url: str
    role_in_org: str
    is_enterprise: bool


class Whoami(Hub, frozen=True, kw_only=True):
    type: str
    id: str
    name: str
    fullname: str
    email: str | None
    email_verified: bool
    can_pay: bool
    period_end: int | None
    is_pro: bool
    avatar_url: str
    orgs: list[OrgOfUser]
    auth: Auth


class OrgBrief(Hub, frozen=True, kw_only=True):
    id: str
    name: str
    fullname: str
    avatar_url: str


class _Person(Hub, frozen=True, kw_only=True, omit_defaults=False):
    """A user as others see one. What hubreg does not have (followers, plans) is no or none."""

    public_id: str = field(name="_id")
    avatar_url: str
    fullname: str
    is_pro: bool = False
    is_following: bool = False
    user: str
    type: str = "user"


class Member(_Person, frozen=True, kw_only=True, omit_defaults=False):
    role: str


class UserOverview(_Person, frozen=True, kw_only=True, omit_defaults=False):
    orgs: list[OrgBrief]
    num_models: int
    num_datasets: int
    num_spaces: int
    num_discussions: int = 0
    num_papers: int = 0
    num_upvotes: int = 0
    num_likes: int = 0
    num_following: int = 0
    num_followers: int = 0
    created_at: str


class OrgOverview(Hub, frozen=True, kw_only=True, omit_defaults=False):
    public_id: str = field(name="_id")
    avatar_url: str
    fullname: str
    name: str
    details: str
    is_verified: bool = False
    is_following: bool = False
    num_users: int
    num_models: int
    num_spaces: int
    num_datasets: int
    num_papers: int = 0
    num_followers: int = 0


# discussions


class DiscussionAuthor(Hub, frozen=True, kw_only=True):
    name: str
    type: str


class RepoName(Hub, frozen=True, kw_only=True):
    name: str
    type: str


class RepoOwner(Hub, frozen=True, kw_only=True):
    name: str
    type: str
    is_participating: bool
    is_discussion_author: bool


class DiscussionItem(Hub, frozen=True, kw_only=True):
    """A discussion as lists show it (HUB 5.7). Without an author clients say "deleted"."""

    num: int
    author: DiscussionAuthor | UnsetType = UNSET
    repo: RepoName
    title: str
    status: str
    created_at: str
    is_pull_request: bool
    num_comments: int
    top_reactions: list[Raw]
    num_reaction_users: int
    pinned: bool
    repo_owner: RepoOwner


class DiscussionPage(Hub, frozen=True, kw_only=True):
    discussions: list[DiscussionItem]
    count: int
    start: int
    num_closed_discussions: int | None


class DiscussionEvent(Hub, frozen=True, kw_only=True):
    id: str
    author: DiscussionAuthor | UnsetType = UNSET
    created_at: str
    type: str
    data: dict[str, Any]


class PullChanges(Hub, frozen=True, kw_only=True):
    base: str
    merge_commit_id: str | UnsetType = UNSET


class DiscussionDetail(Hub, frozen=True, kw_only=True):
    """One discussion with its events; a pull request also with what it would change."""

    num: int
    author: DiscussionAuthor | UnsetType = UNSET
    repo: RepoName
    title: str
    status: str
    created_at: str
    is_pull_request: bool
    pinned: bool
    locked: bool
    events: list[DiscussionEvent]
    changes: PullChanges | UnsetType = UNSET
    files_with_conflicts: list[str] | bool | UnsetType = UNSET
    diff: str | UnsetType = UNSET


# tags


def tags_by_type(tags: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """
    Tags sorted into kinds: a task, what stands before the first colon, or `other`. `label` is what people read.
    """
    kinds: dict[str, list[dict[str, str]]] = {}
    for tag in tags:
        prefix, colon, rest = tag.partition(":")
        kind = prefix if colon else "pipeline_tag" if tag in TASKS else "other"
        kinds.setdefault(kind, []).append({"id": tag, "label": rest or tag, "type": kind})
    return kinds
