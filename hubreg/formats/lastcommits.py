"""
Which commit last changed each entry of a folder: one commit per entry, in the order of the folder's tree.

A folder shown with commits (`expand` of the tree call, HUB 5.3) would otherwise cost a walk of history per
entry. The list is kept with the commit that made it, and `step` makes the next from it. Most folders have few
commits to name, so each is written once and the entries point at it: a byte each, in the common case.

    width of an index: 1, 2 or 4     1 byte
    number of commits               4 bytes, big-endian
    the commits                     20 bytes each
    an index for each entry         `width` bytes each, big-endian
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from hubreg.errors import Damaged
from hubreg.formats.gitobjects import Folder
from hubreg.model import CommitId

_HEAD = struct.Struct(">BI")
_CODES = {1: "B", 2: "H", 4: "I"}


def render(commits: Sequence[CommitId]) -> bytes:
    places = {commit: place for place, commit in enumerate(dict.fromkeys(commits))}
    width = 1 if len(places) <= 1 << 8 else 2 if len(places) <= 1 << 16 else 4
    indexes = struct.pack(f">{len(commits)}{_CODES[width]}", *[places[commit] for commit in commits])
    return _HEAD.pack(width, len(places)) + bytes.fromhex("".join(places)) + indexes


def parse(data: bytes) -> tuple[CommitId, ...]:
    """Raises `Damaged` for bytes that are no such list."""
    try:
        width, count = _HEAD.unpack_from(data)
        entries, rest = divmod(len(data) - _HEAD.size - 20 * count, width)
        if rest or entries < count:
            raise Damaged("A list of last commits has the wrong length.")
        ids = data[_HEAD.size : _HEAD.size + 20 * count].hex()
        commits = [CommitId(ids[at : at + 40]) for at in range(0, len(ids), 40)]
        indexes = struct.unpack_from(f">{entries}{_CODES[width]}", data, _HEAD.size + 20 * count)
        return tuple([commits[index] for index in indexes])
    except (struct.error, LookupError, ZeroDivisionError):
        raise Damaged("These bytes are no list of last commits.") from None


def step(before: Mapping[str, CommitId], folder: Folder, commit: CommitId) -> tuple[CommitId, ...]:
    """
    The list after `commit` made `folder` what it is. `before` has the commit of each entry's name until then;
    entries that it does not know count as changed.
    """
    return tuple(
        [
            commit if entry.name in folder.changed else before.get(entry.name, commit)
            for entry in folder.entries
        ]
    )
