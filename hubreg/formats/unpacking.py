"""
Git's packs (gitformat-pack, version 2) taken apart, whoever made them.

`Unpacker` reads through a function that the caller gives it, wherever the bytes are, and promises that memory and work
stay within `Limits` whatever the pack says:

- an object's announced size is judged before a byte of it is inflated, and inflating stops at that size;
- a delta's result likewise; a chain of deltas has an end, and a cycle never begins;
- every byte that is inflated or rebuilt is counted, as often as it is.

What is held is an index entry per object and a bounded number of contents. What is no pack is `Invalid`, what is too
much of one `TooLarge`; both leave nothing to be undone.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from hubreg.errors import Invalid, TooLarge
from hubreg.formats.deltas import apply_delta, result_size
from hubreg.formats.gitobjects import object_oid
from hubreg.formats.packs import CODES, KINDS, OFFSET_DELTA, REF_DELTA
from hubreg.model import Oid

OLDER_FIRST = "Push older commits first: git push REMOTE COMMIT:BRANCH."
_CHECKSUM = 20  # bytes of SHA-1 at the end

Read = Callable[[int, int], bytes]  # offset, length -> those bytes, fewer where they end


@dataclass(frozen=True, slots=True)
class Limits:
    """What one pack may ask for."""

    objects: int = 250_000
    held: int = (
        16 << 20
    )  # bytes of an object that is held in memory: every tree, commit, tag, delta, and what it makes
    work: int = 16 << 30  # bytes inflated and rebuilt, all together, each as often as it happens
    chain: int = 4096  # deltas upon each other; git makes 50, and 4095 where it is told to
    tree: int = 8 << 20  # bytes of a tree: a folder of some 200 000 files; the Hub advises 10 000
    entries: int = 32_000_000  # of all its trees, each counted once: 5000 versions of a folder of 5000 files
    # That one commit may bring: trees that name one folder twice, 20 of them above each other, are a million.
    paths: int = 2_000_000
    elsewhere: int = 250_000  # objects that its trees name and that are not in the pack


_UNNAMED = Oid("")


@dataclass(slots=True, eq=False)
class Packed:
    """
    One object of a pack. `at` is where its compressed bytes begin, `stored` how many they are inflated. For a delta
    `base` is the object it builds on, once that is known; until then it has no `oid`, `kind` and `size`.
    """

    at: int
    stored: int
    kind: str = ""
    oid: Oid = _UNNAMED
    size: int = 0
    base: Packed | None = None
    chain: int = 0


_STEP = 640  # bytes: what else is done in the time that a step of a delta takes, however little it copies
_PIECE = 1 << 20
_WINDOW = 64 << 10
_RECENT = 32 << 20


class Unpacker:
    """
    The objects of the pack in `read`'s bytes from `start` to `end`. Blocks: for a thread.

        unpacker.scan()          everything is read once, and checked but for deltas
        unpacker.resolve()       deltas whose bases are known get their names
        unpacker.missing()       bases that are not in the pack ("thin" packs): give those that may be used
        unpacker.admit(...)      to it, one by one, and resolve again
        unpacker.objects         by oid; `content` gives the bytes of one

    `note` is called once for every object that is held, with its content.
    """

    def __init__(
        self,
        read: Read,
        start: int,
        end: int,
        limits: Limits,
        note: Callable[[Packed, bytes], None] = lambda packed, data: None,
    ) -> None:
        self._read, self._start, self._end, self._limits, self._note = read, start, end, limits, note
        self._window, self._window_at = memoryview(b""), 0
        self._work, self._stopped = limits.work, False
        self._recent = _Recent(_RECENT)
        self._after: dict[int, list[Packed]] = {}  # deltas by the offset of their base
        self._named: dict[Oid, list[Packed]] = {}  # and by its name
        self._headers: dict[int, Packed] = {}
        self._ready: list[Packed] = []  # objects whose deltas can be resolved
        self.objects: dict[Oid, Packed] = {}

    def stop(self) -> None:
        """From another thread: whatever is being done ends soon, with an error."""
        self._stopped = True

    # reading

    def scan(self) -> None:
        """Raises `Invalid` for what is no whole and correct pack, `TooLarge` for one beyond the limits."""
        self._check_sum()
        head = bytes(self._peek(self._start, 12))
        if head[:4] != b"PACK" or int.from_bytes(head[4:8]) not in (2, 3):
            raise Invalid("What was sent is no git pack.")
        count = int.from_bytes(head[8:12])
        if count > self._limits.objects:
            raise TooLarge(
                f"A push may have {self._limits.objects} objects, this one has {count}.",
                hint=OLDER_FIRST,
            )
        at, end = self._start + 12, self._end - _CHECKSUM
        for _ in range(count):
            at = self._scan_one(at, end)
        if at != end:
            raise Invalid("The git pack has more bytes than objects.")
        self._headers.clear()

    def _check_sum(self) -> None:
        end = self._end - _CHECKSUM
        if end < self._start + 12:
            raise Invalid("The git pack is cut off.")
        hashed = hashlib.sha1(usedforsecurity=False)
        for at in range(self._start, end, _PIECE):
            hashed.update(self._read(at, min(_PIECE, end - at)))
        if hashed.digest() != self._read(end, _CHECKSUM):
            raise Invalid("The git pack is cut off or damaged: its checksum is another.")

    def _scan_one(self, start: int, end: int) -> int:
        """Take note of the object that begins at `start`; where the next one does."""
        code, size, at = self._parse_head(start)
        if code in KINDS:
            packed = Packed(at, size, KINDS[code], size=size)
            self._headers[start] = packed
            if size > self._limits.held and code != CODES["blob"]:
                raise TooLarge(f"A git {packed.kind} of {size} bytes is more than this server takes.")
            after = self._scan_whole(packed)
        elif code in (OFFSET_DELTA, REF_DELTA):
            packed, at = self._scan_delta(code, start, size, at)
            self._headers[start] = packed
            self._judge(size)
            _, after = self._inflate(packed.at, size)
        else:
            raise Invalid(f"The git pack has an object of unknown kind {code}.")
        if after > end:
            raise Invalid("The git pack ends inside an object.")
        return after

    def _scan_whole(self, packed: Packed) -> int:
        if packed.size <= self._limits.held:
            data, after = self._inflate(packed.at, packed.size)
            self._recent.put(packed.at, data)
            self._add(packed, data)
            return after
        hashed = hashlib.sha1(b"blob %d\0" % packed.size, usedforsecurity=False)
        after = self._inflate_into(hashed.update, packed.at, packed.size)
        packed.oid = Oid(hashed.hexdigest())
        self.objects.setdefault(packed.oid, packed)
        return after

    def _scan_delta(self, code: int, start: int, size: int, at: int) -> tuple[Packed, int]:
        if code == REF_DELTA:
            name = bytes(self._peek(at, 20))
            packed = Packed(at + 20, size)
            self._named.setdefault(Oid(name.hex()), []).append(packed)
            return packed, at
        back, at = self._parse_offset(at)
        base = self._headers.get(start - back)
        if base is None or not back:
            raise Invalid("A delta of the git pack builds on nothing.")
        packed = Packed(at, size, base=base)
        self._after.setdefault(base.at, []).append(packed)
        return packed, at

    def _parse_head(self, at: int) -> tuple[int, int, int]:
        """Kind, size, and where the rest begins."""
        window = self._peek(at, 10)
        for length, byte in enumerate(window):
            if not length:
                code, size, shift = byte >> 4 & 7, byte & 15, 4
            else:
                size |= (byte & 0x7F) << shift
                shift += 7
            if byte < 0x80:
                return code, size, at + length + 1
        raise Invalid("The git pack ends inside an object, or the object has no size.")

    def _parse_offset(self, at: int) -> tuple[int, int]:
        """How far back the base is, and where the rest begins."""
        value = -1
        for length, byte in enumerate(self._peek(at, 10)):
            value = value + 1 << 7 | byte & 0x7F
            if byte < 0x80:
                return value, at + length + 1
        raise Invalid("The git pack ends inside an object, or its delta has no base.")

    # bytes

    def _peek(self, at: int, size: int) -> memoryview:
        """Up to `size` bytes, from a window on the file: most objects are much smaller than it."""
        begin = at - self._window_at
        if not 0 <= begin <= len(self._window) - size:
            self._window, self._window_at, begin = memoryview(self._read(at, max(size, _WINDOW))), at, 0
        return self._window[begin : begin + size]

    def _inflate_into(self, take: Callable[[bytes], object], at: int, size: int) -> int:
        """
        Give what inflates to exactly `size` bytes to `take`, in pieces; where the compressed bytes end.

        Never asks zlib for more than one byte over the size, nor for more than a piece at a time.
        """
        self._spend(size)
        stream, left, waiting = zlib.decompressobj(), size, b""
        # Hardly anything compresses to more than its own size, so this is one call for most objects.
        step = min(size + (size >> 10) + 64, _WINDOW)
        try:
            while not stream.eof:
                feed: bytes | memoryview = waiting
                if not waiting:
                    feed = self._peek(at, step)
                    at += len(feed)
                    self._spend(len(feed))
                    if not feed:
                        raise Invalid("The git pack ends inside an object.")
                data = stream.decompress(feed, min(left + 1, _PIECE))
                waiting = stream.unconsumed_tail
                left -= len(data)
                if left < 0:
                    break
                take(data)
        except zlib.error as error:
            raise Invalid(f"An object of the git pack cannot be inflated: {error}.") from error
        if left:
            raise Invalid("An object of the git pack has another size than it says.")
        return at - len(stream.unused_data)

    def _inflate(self, at: int, size: int) -> tuple[bytes, int]:
        """`size` bytes, to be held, and where the compressed bytes end."""
        found: list[bytes] = []
        after = self._inflate_into(found.append, at, size)
        return found[0] if len(found) == 1 else b"".join(found), after

    def _judge(self, size: int) -> None:
        if size > self._limits.held:
            raise TooLarge(f"A git delta that makes or takes {size} bytes is more than this server takes.")

    def _spend_steps(self, steps: int) -> None:
        self._spend(steps * _STEP)

    def _spend(self, cost: int) -> None:
        if self._stopped:
            raise Invalid("The push was given up.")
        self._work -= cost
        if self._work < 0:
            raise TooLarge(
                "Unpacking this push is more work than this server does for one.",
                hint=OLDER_FIRST,
            )

    # deltas

    def resolve(self) -> None:
        """Name every delta whose base is known, and every delta upon those."""
        while self._ready:
            packed = self._ready.pop()
            waiting = self._after.pop(packed.at, [])
            named = self._named.pop(packed.oid, [])
            for delta in waiting + named:
                delta.base = packed
                delta.chain = packed.chain + 1
                if delta.chain > self._limits.chain:
                    raise TooLarge(f"The git pack has more than {self._limits.chain} deltas upon each other.")
                delta.kind = packed.kind
                self._add(delta, self.content(delta))

    def missing(self) -> list[Oid]:
        """The names of bases that `resolve` did not find; after it, and with nothing left to admit, an error."""
        return sorted(self._named)

    def admit(self, oid: Oid, kind: str, at: int, size: int) -> None:
        """An object from outside the pack, whose compressed bytes are at `at`, as a base for deltas and no more."""
        packed = Packed(at, size, kind, oid, size)
        self._ready.append(packed)

    def _add(self, packed: Packed, data: bytes) -> None:
        packed.oid, packed.size = object_oid(packed.kind, data), len(data)
        # The same object twice is allowed, and both may be bases.
        self.objects.setdefault(packed.oid, packed)
        self._ready.append(packed)
        self._note(packed, data)

    def is_light(self, packed: Packed, most: int) -> bool:
        """Whether `content` will spend at most that much work: a small object may be the last of many large ones."""
        while packed.base is not None and self._recent.get(packed.at) is None:
            most -= packed.size + packed.stored * _STEP
            if most < 0:
                return False
            packed = packed.base
        return packed.size + packed.stored <= most

    def content(self, packed: Packed) -> bytes:
        """What an object holds. For one that is held: `Limits.held`."""
        line: list[Packed] = []
        data = self._recent.get(packed.at)
        while data is None and packed.base is not None:
            line.append(packed)
            packed = packed.base
            data = self._recent.get(packed.at)
        if data is None:
            data, _ = self._inflate(packed.at, packed.stored)
            self._recent.put(packed.at, data)
        for delta in reversed(line):
            steps, _ = self._inflate(delta.at, delta.stored)
            self._judge(result_size(steps))
            self._spend(result_size(steps))
            data = apply_delta(data, steps, self._spend_steps)
            self._recent.put(delta.at, data)
        return data


@dataclass(slots=True)
class _Recent:
    """Contents used last, up to so many bytes: a delta's base was most often just made."""

    limit: int
    weight: int = 0
    held: OrderedDict[int, bytes] = field(default_factory=OrderedDict)

    def get(self, at: int) -> bytes | None:
        found = self.held.get(at)
        if found is not None:
            self.held.move_to_end(at)
        return found

    def put(self, at: int, data: bytes) -> None:
        self.weight += len(data) - len(self.held.pop(at, b""))
        self.held[at] = data
        while self.weight > self.limit:
            _, dropped = self.held.popitem(last=False)
            self.weight -= len(dropped)
