"""
Git's deltas (gitformat-pack, "deltified representation"): one object as copies out of another and insertions.

`apply_delta` takes what anybody sends; `tree_delta` makes deltas of trees, the objects of which a history has many that
hardly differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hubreg.errors import Invalid

# --- applying ---

_COUNTED = 1024  # steps that are done before they are counted


def result_size(delta: bytes) -> int:
    """How many bytes a delta says it makes."""
    _, at = _delta_size(delta, 0)
    return _delta_size(delta, at)[0]


def _delta_size(delta: bytes, at: int) -> tuple[int, int]:
    size = shift = 0
    for byte in delta[at : at + 10]:
        size |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            return size, at
    raise Invalid("A delta of the git pack has no sizes.")


def apply_delta(base: bytes, delta: bytes, count: Callable[[int], object] = lambda steps: None) -> bytes:
    """
    What a delta makes of its base. Raises `Invalid` for one that reaches outside the base, or makes more or less
    than it says: it never holds more than that. `count` is told how many steps were done, now and then: those are
    the work, be it a byte or a megabyte that each of them copies.
    """
    size, at = _delta_size(delta, 0)
    if size != len(base):
        raise Invalid("A delta of the git pack is for another base.")
    left, at = _delta_size(delta, at)
    made, source, steps = bytearray(), memoryview(base), 0
    try:
        while at < len(delta):
            steps += 1
            if not steps % _COUNTED:
                count(_COUNTED)
            step = delta[at]
            at += 1
            if step & 0x80:
                offset, length, at = _copy(step, delta, at)
                piece = source[offset : offset + length]
            else:
                length = step
                piece = memoryview(delta)[at : at + length]
                at += length
            left -= length
            if left < 0 or not step or len(piece) != length:
                raise Invalid("A delta of the git pack does not fit its base.")
            made += piece
    except IndexError:
        raise Invalid("A delta of the git pack is cut off.") from None
    if left:
        raise Invalid("A delta of the git pack makes less than it says.")
    count(steps % _COUNTED)
    return bytes(made)


def _copy(step: int, delta: bytes, at: int) -> tuple[int, int, int]:
    """Offset and length of a copy, and where the next step begins. The bits of `step` say which bytes follow."""
    offset = length = 0
    for bit in range(4):
        if step & 1 << bit:
            offset |= delta[at] << 8 * bit
            at += 1
    for bit in range(3):
        if step & 0x10 << bit:
            length |= delta[at] << 8 * bit
            at += 1
    return offset, length or 0x10000, at


# --- making ---

_ENTRY = re.compile(rb"[0-7]+ [^\0]+\0.{20}", re.DOTALL)
_BLOCK = 4096
_FEW = 1024  # bytes that are rather inserted than looked for
_MOST_COPIED = 0x10000  # by one step, for every reader there is


def tree_delta(base: bytes, data: bytes) -> bytes | None:
    """
    How a tree differs from another state of the same folder; None where that is not much shorter than the tree.

    What is the same at both ends is two copies. If much stands between, it is looked for entry by entry.
    """
    same = _common(base, data, min(len(base), len(data)))
    end = _common(base[::-1], data[::-1], min(len(base), len(data)) - same)
    steps = _Steps(len(base), len(data))
    if len(data) - same - end <= _FEW:
        steps.copy(0, same)
        steps.insert(data[same : len(data) - end])
        steps.copy(len(base) - end, end)
    else:
        places, at = {}, 0
        for entry in _ENTRY.findall(base):
            places[entry] = at
            at += len(entry)
        for entry in _ENTRY.findall(data):
            place = places.get(entry)
            if place is None:
                steps.insert(entry)
            else:
                steps.copy(place, len(entry))
    delta = steps.close()
    return delta if len(delta) < len(data) // 2 else None


def _common(one: bytes, other: bytes, most: int) -> int:
    """How many bytes, of `most`, are the same from the start: whole blocks are compared before single bytes."""
    at = 0
    while at < most and one[at : at + _BLOCK] == other[at : at + _BLOCK]:
        at += _BLOCK
    low, high = min(at, most), min(at + _BLOCK, most)
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class _Steps:
    """A delta in the making. Copies that continue each other become one, and so do insertions."""

    def __init__(self, base: int, data: int) -> None:
        self._made = bytearray(_render_size(base) + _render_size(data))
        self._at = self._length = 0
        self._inserted = bytearray()

    def copy(self, at: int, length: int) -> None:
        self._flush_insertion()
        if at != self._at + self._length:
            self._flush_copy()
            self._at = at
        self._length += length

    def insert(self, data: bytes) -> None:
        self._flush_copy()
        self._inserted += data

    def close(self) -> bytes:
        self._flush_copy()
        self._flush_insertion()
        return bytes(self._made)

    def _flush_copy(self) -> None:
        while self._length:
            length = min(self._length, _MOST_COPIED)
            step, fields = 0x80, bytearray()
            for bit, number in ((0, self._at), (4, length % _MOST_COPIED)):
                while number:
                    if number & 0xFF:
                        step |= 1 << bit
                        fields.append(number & 0xFF)
                    number, bit = number >> 8, bit + 1
            self._made.append(step)
            self._made += fields
            self._at, self._length = self._at + length, self._length - length

    def _flush_insertion(self) -> None:
        for start in range(0, len(self._inserted), 0x7F):
            piece = self._inserted[start : start + 0x7F]
            self._made.append(len(piece))
            self._made += piece
        self._inserted.clear()


def _render_size(size: int) -> bytes:
    parts = bytearray()
    while size > 0x7F:
        parts.append(size & 0x7F | 0x80)
        size >>= 7
    parts.append(size)
    return bytes(parts)
