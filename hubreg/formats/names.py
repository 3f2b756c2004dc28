"""
Names that people and clients choose: accounts, repos, refs, paths. Each is parsed, brought into the form it
is looked up in, or refused with a sentence.

What passes here can be a URL segment, a git ref or a path of a git tree, and on nobody's file system is it
anything but a name inside the folder it was put in. Whether something of that name exists is not asked here.
"""

from __future__ import annotations

import re

from hubreg.errors import Invalid, InvalidPath

_MAX_NAME = 96
_MAX_PATH = 1000  # characters
_MAX_SEGMENT = 255  # bytes, what common file systems take
_MAX_REF = 200  # bytes; with `refs/heads/` before it, still one file name

# First segments of URLs that are not an account, now or in a part to come.
_RESERVED = frozenset(
    "admin api assets blog buckets cas chat collections datasets docs enterprise health healthz hub jobs join"
    " kernels lfs login logout metrics models new notifications oauth organizations papers posts pricing"
    " readyz resolve resolve-cache search settings signup spaces static tasks users v1 v2 webhooks".split()
)

_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{_MAX_NAME}}}")
_HEX = re.compile(r"[0-9a-fA-F]{4,40}")

# What `git check-ref-format` refuses, and a name that a command line would take for an option.
_BAD_REF = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]"  # controls, blanks and what git's revision syntax uses
    r"|\.\.|@\{|//|(?:^|/)\.|\.lock(?:/|$)|\.$|^/|/$|^@$|^-"
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Spellings that some file system takes for `.git`, as git's own fsck knows them (is_ntfs_dotgit,
# is_hfs_dotgit).
_NTFS_DOTGIT = re.compile(r"(?:\.git|git~1)[ .]*(?::.*)?", re.IGNORECASE | re.DOTALL | re.ASCII)
# And for the files that git reads by itself (is_ntfs_dot_generic): by the beginning of their short name, and by the
# one that NTFS makes up when that is taken.
_SHORT = {"gitmod": "gi7eba", "gitatt": "gi7d29", "gitign": "gi250a"}
_MADE_UP = [
    f"{short[:kept]}~[1-9][0-9]{{{6 - kept}}}" for short in _SHORT.values() for kept in range(len(short) + 1)
]
_NTFS_DOTFILE = re.compile(
    rf"(?:\.git(?:modules|attributes|ignore)|(?:{'|'.join(_SHORT)})~[1-4]|{'|'.join(_MADE_UP)})[ .]*(?::.*)?",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_HFS_IGNORES = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


def key(name: str) -> str:
    """The form in which names are looked up: ASCII letters in lower case (HUB 1.2)."""
    # Other letters stay: no valid name has one, and U+212A would become a plain `k`.
    return name.lower() if name.isascii() else name


def repo_key(namespace: str, name: str) -> str:
    """The form in which `namespace/name` is looked up."""
    return f"{key(namespace)}/{key(name)}"


def check_account_name(name: str) -> None:
    """Raise `Invalid` for what cannot be the name of a user or an organisation."""
    _check_name(name, "an account")
    if key(name) in _RESERVED:
        raise Invalid(f"The name {name!r} is reserved.")


def check_repo_name(name: str) -> None:
    """Raise `Invalid` for what cannot be a repo's name within its namespace (HUB 1.2)."""
    _check_name(name, "a repo")


def _check_name(name: str, what: str) -> None:
    if (
        not _NAME.fullmatch(name)
        or name[0] in "-."
        or name[-1] in "-."
        or "--" in name
        or ".." in name
        or key(name).endswith(".git")
    ):
        raise Invalid(
            f"{name[:_MAX_NAME]!r} cannot be the name of {what}.",
            hint=f"Use 1 to {_MAX_NAME} of A-Z a-z 0-9 . _ - without '--' and '..', not beginning or ending"
            " with '-' or '.', and not ending with '.git'.",
        )


def parse_repo_id(text: str) -> tuple[str | None, str]:
    """`namespace/name`, or a bare `name` whose namespace the caller knows. Raises `Invalid`."""
    namespace, slash, name = text.rpartition("/")
    check_repo_name(name)
    if not slash:
        return None, name
    check_repo_name(namespace)
    return namespace, name


def check_branch(name: str) -> None:
    """
    Raise `Invalid`, in the Hub's words (HUB 4.2), for what cannot be a branch: git's own rules and ours.
    """
    _check_ref(name, "Invalid reference for a branch")


def check_tag(name: str) -> None:
    """Raise `Invalid` for what cannot be a tag."""
    _check_ref(name, "Invalid reference for a tag")


def _check_ref(name: str, refusal: str) -> None:
    # A ref that reads like a commit, like HEAD or like a full ref name would hide what it is not.
    if (
        not name
        or _BAD_REF.search(name)
        or name == "HEAD"
        or name.startswith("refs/")
        or is_commit_id(name)
        or not _fits(name, _MAX_REF)
    ):
        raise Invalid(refusal)


def is_commit_id(text: str) -> bool:
    """Whether this is a full commit id: 40 hex digits. Clients take every such revision for one."""
    return len(text) == 40 and is_abbreviation(text)


def is_abbreviation(text: str) -> bool:
    """Whether this may stand for a commit id: its first 4 to 40 hex digits."""
    return _HEX.fullmatch(text) is not None


def check_path(path: str) -> None:
    """
    Raise `InvalidPath` for what no repo may hold.

    A backslash is an ordinary character, as on the Hub, except that a path which begins with `..\\` is
    refused (HUB 1.4) and that no part between slashes of either kind may read as `.git`.
    """
    if not path:
        raise InvalidPath("A path must not be empty.")
    if len(path) > _MAX_PATH:
        raise InvalidPath(f"A path may have {_MAX_PATH} characters, this one has {len(path)}.")
    if _CONTROL.search(path):
        raise InvalidPath(f"The path {path!r} has a control character.")
    if path[0] == "/" or path[-1] == "/":
        raise InvalidPath(f"The path {path!r} must not begin or end with '/'.")
    if path.startswith("..\\"):
        raise InvalidPath(f"The path {path!r} leads out of the repo.")
    for segment in path.split("/"):
        _check_segment(segment, path)


def _check_segment(segment: str, path: str) -> None:
    if segment in ("", ".", ".."):
        raise InvalidPath(f"The path {path!r} has a segment {segment!r}.")
    if not _fits(segment, _MAX_SEGMENT):
        raise InvalidPath(f"The path {path!r} has a segment that is not UTF-8 or over {_MAX_SEGMENT} bytes.")
    parts = segment.split("\\")
    if any(_NTFS_DOTGIT.fullmatch(part) for part in parts) or _HFS_IGNORES.sub("", segment).lower() == ".git":
        raise InvalidPath(f"The path {path!r} would be git's own folder.")


def is_git_file(name: str) -> bool:
    """
    Whether somebody's file system takes this for `.gitmodules`, `.gitattributes` or `.gitignore`. They are files: git
    follows no link there, and `git fsck`, which many a client runs on what it fetches, refuses what is none.
    """
    return bool(_NTFS_DOTFILE.fullmatch(name) or _NTFS_DOTFILE.fullmatch(_HFS_IGNORES.sub("", name)))


def _fits(text: str, size: int) -> bool:
    """Whether this is `size` bytes of UTF-8 at most. Lone surrogates are no UTF-8."""
    try:
        return len(text) <= size and len(text.encode()) <= size
    except UnicodeEncodeError:
        return False
