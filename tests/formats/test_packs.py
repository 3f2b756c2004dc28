"""Packs: made and taken apart again, and nothing that anybody may send costs more than the limits."""

from __future__ import annotations

import hashlib
import tracemalloc
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import Invalid, TooLarge
from hubreg.formats.deltas import apply_delta, result_size, tree_delta
from hubreg.formats.gitobjects import FILE, FOLDER, SUBMODULE, TreeEntry, object_oid, render_tree
from hubreg.formats.packs import Encoder, tree_links
from hubreg.formats.unpacking import Limits, Packed, Unpacker, _Recent
from hubreg.model import Oid

KINDS = st.sampled_from(["commit", "tree", "blob", "tag"])
OBJECTS = st.lists(st.tuples(KINDS, st.binary(max_size=300)), max_size=20)


def unpacker(pack: bytes, limits: Limits | None = None) -> Unpacker:
    return Unpacker(lambda at, size: pack[at : at + size], 0, len(pack), limits or Limits())


def unpacked(pack: bytes, limits: Limits | None = None) -> Unpacker:
    found = unpacker(pack, limits)
    found.scan()
    found.resolve()
    return found


def encoded(objects: Sequence[tuple[str, bytes]]) -> bytes:
    encoder = Encoder(len(objects))
    return b"".join(
        [encoder.start(), *[encoder.whole(kind, data) for kind, data in objects], encoder.close()]
    )


# What a pack consists of, written by hand: the encoder makes only good ones.


def size_of(number: int) -> bytes:
    """A delta's sizes: seven bits to a byte, lowest first."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def stored(code: int, size: int, data: bytes, base: bytes = b"") -> bytes:
    """An object as it stands in a pack: head, base, compressed bytes."""
    head, byte = bytearray(), code << 4 | size & 15
    size >>= 4
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    head.append(byte)
    return bytes(head) + base + zlib.compress(data)


def offset(back: int) -> bytes:
    """How far back the base of a delta is, for less than 128 bytes."""
    assert back < 0x80
    return bytes([back])


def pack(*objects: bytes, count: int | None = None) -> bytes:
    body = (
        b"PACK" + (2).to_bytes(4) + (len(objects) if count is None else count).to_bytes(4) + b"".join(objects)
    )
    return body + hashlib.sha1(body).digest()  # noqa: S324 git's own


def delta(base: bytes, result: int, *steps: bytes) -> bytes:
    return size_of(len(base)) + size_of(result) + b"".join(steps)


def copy(at: int, length: int) -> bytes:
    return b"\xff" + at.to_bytes(4, "little") + length.to_bytes(3, "little")


def insert(data: bytes) -> bytes:
    return bytes([len(data)]) + data


# round trips


@given(OBJECTS)
def test_what_was_packed_is_unpacked(objects: list[tuple[str, bytes]]) -> None:
    """Kinds, contents and names of all objects come back."""
    found = unpacked(encoded(objects))
    assert found.objects.keys() == {object_oid(kind, data) for kind, data in objects}
    for kind, data in objects:
        packed = found.objects[object_oid(kind, data)]
        assert (packed.kind, packed.size, found.content(packed)) == (kind, len(data), data)


@given(st.binary(min_size=1, max_size=5000), st.integers(1, 700))
def test_an_object_in_pieces_is_the_same(data: bytes, step: int) -> None:
    """However it is cut, an object that was given piece by piece is the one that was meant."""
    encoder = Encoder(1)
    made = encoder.start() + encoder.begin("blob", len(data))
    for at in range(0, len(data), step):
        made += encoder.piece(data[at : at + step])
    made += encoder.end() + encoder.close()
    assert set(unpacked(made).objects) == {object_oid("blob", data)}


@st.composite
def deltas(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """A base, a delta, and what it makes."""
    base, steps, made = draw(st.binary(max_size=400)), [], b""
    for _ in range(draw(st.integers(0, 8))):
        if base and draw(st.booleans()):
            at = draw(st.integers(0, len(base) - 1))
            length = draw(st.integers(1, len(base) - at))
            steps.append(copy(at, length))
            made += base[at : at + length]
        else:
            data = draw(st.binary(min_size=1, max_size=127))
            steps.append(insert(data))
            made += data
    return base, delta(base, len(made), *steps), made


@given(deltas())
def test_a_delta_makes_what_it_says(case: tuple[bytes, bytes, bytes]) -> None:
    """Copies and inserts in any order."""
    base, steps, made = case
    assert apply_delta(base, steps) == made
    assert result_size(steps) == len(made)


@given(deltas())
def test_deltas_are_resolved_by_offset_and_by_name(case: tuple[bytes, bytes, bytes]) -> None:
    """A base before it, a base after it, and a base that is a delta itself."""
    base, steps, made = case
    whole = stored(3, len(base), base)
    name = bytes.fromhex(object_oid("blob", base))
    for made_pack in (
        pack(whole, stored(7, len(steps), steps, name)),
        pack(stored(7, len(steps), steps, name), whole),
        *([pack(whole, stored(6, len(steps), steps, offset(len(whole))))] if len(whole) < 0x80 else []),
    ):
        found = unpacked(made_pack)
        assert not found.missing()
        assert found.objects.keys() == {object_oid("blob", base), object_oid("blob", made)}
        assert found.content(found.objects[object_oid("blob", made)]) == made


@given(deltas())
def test_a_base_from_outside_is_admitted(case: tuple[bytes, bytes, bytes]) -> None:
    """A thin pack names the base that it lacks, and is whole once that is given; the base is not part of it."""
    base, steps, made = case
    name = object_oid("blob", base)
    thin = pack(stored(7, len(steps), steps, bytes.fromhex(name)))
    more = thin + zlib.compress(base)
    found = Unpacker(lambda at, size: more[at : at + size], 0, len(thin), Limits())
    found.scan()
    found.resolve()
    assert found.missing() == [name]
    found.admit(name, "blob", len(thin), len(base))
    found.resolve()
    assert found.missing() == []
    assert found.objects.keys() == {object_oid("blob", made)}
    assert found.content(found.objects[object_oid("blob", made)]) == made


def test_every_held_object_is_noted_once() -> None:
    """The caller sees all contents in passing, those of deltas too."""
    base = b"base" * 10
    steps = delta(base, 8, copy(0, 8))
    whole = stored(3, len(base), base)
    made = pack(whole, stored(6, len(steps), steps, offset(len(whole))))
    noted: list[bytes] = []
    found = Unpacker(
        lambda at, n: made[at : at + n], 0, len(made), Limits(), lambda _, data: noted.append(data)
    )
    found.scan()
    found.resolve()
    assert noted == [base, base[:8]]


def test_links_of_a_tree() -> None:
    """Folders and files by their oids; submodules are neither."""
    oids = [Oid(f"{n:040x}") for n in range(4)]
    entries = zip("dfgs", (FOLDER, FILE, FILE, SUBMODULE), oids, strict=True)
    tree = render_tree(TreeEntry(name, mode, oid) for name, mode, oid in entries)
    assert tree_links(tree) == ([(b"d", oids[0])], [oids[1], oids[2]])


NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name and b"/" not in name)


@st.composite
def states(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Two states of a folder of up to hundreds of entries, of which most are the same."""
    names = draw(st.lists(NAMES, min_size=1, max_size=40, unique=True))
    names += [b"%05d" % n for n in range(draw(st.sampled_from([0, 10, 300])))]
    before = dict.fromkeys(sorted(names), b"\1" * 20)
    after = dict(before)
    for name in draw(st.lists(st.sampled_from(names), max_size=6)):
        after[name] = draw(st.sampled_from([b"\2" * 20, b"\0" * 20, b"1 a\0" * 5]))
    for name in draw(st.lists(st.sampled_from(names), max_size=3)):
        after.pop(name, None)
    for name in draw(st.lists(NAMES, max_size=3)):
        after[name] = b"\3" * 20
    trees = [b"".join(b"100644 %b\0%b" % item for item in sorted(state.items())) for state in (before, after)]
    return trees[0], trees[1]


@given(states())
def test_a_trees_delta_makes_the_tree(case: tuple[bytes, bytes]) -> None:
    """Whatever was added, changed and removed; and it is not much where not much was."""
    before, after = case
    steps = tree_delta(before, after)
    if steps is None:
        return
    assert apply_delta(before, steps) == after
    assert len(steps) < len(after) // 2 + 1


@pytest.mark.parametrize("place", [0, 5_000, 9_999])
def test_one_change_in_a_large_folder_is_a_short_delta(place: int) -> None:
    """Tens of bytes for a tree of 340 kB, wherever it is."""
    entries = [b"100644 %05d\0" % n + n.to_bytes(20) for n in range(10_000)]
    changed = [*entries[:place], b"100644 %05d\0" % place + b"x" * 20, *entries[place + 1 :]]
    added = [*entries[:place], b"100644 %05d-\0" % place + b"x" * 20, *entries[place:]]
    scattered = [entry if n % 2_000 else b"100644 %05d\0" % n + b"y" * 20 for n, entry in enumerate(entries)]
    before = b"".join(entries)
    for after, most in ((changed, 120), (added, 120), (entries[:place], 60), (scattered, 400)):
        steps = tree_delta(before, b"".join(after))
        assert (steps is None) == (not after)
        if steps is not None:
            assert apply_delta(before, steps) == b"".join(after)
            assert len(steps) < most


def test_trees_that_are_not_alike_have_no_delta() -> None:
    """A delta that is as long as the tree is none."""
    one = b"".join(b"100644 %05d\0" % n + n.to_bytes(20) for n in range(100))
    other = b"".join(b"100644 %05d\0" % n + (n + 1).to_bytes(20) for n in range(100))
    assert tree_delta(one, other) is None
    assert tree_delta(b"", one) is None


# what may be sent by anybody


@given(OBJECTS, st.data())
def test_a_pack_that_was_cut_is_refused(objects: list[tuple[str, bytes]], data: st.DataObject) -> None:
    """Wherever it ends too early."""
    made = encoded(objects)
    cut = made[: data.draw(st.integers(0, len(made) - 1))]
    with pytest.raises(Invalid):
        unpacked(cut)


@given(OBJECTS, st.data())
def test_a_pack_that_was_changed_is_refused_or_read(
    objects: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    """Any byte may be any other, under a checksum that fits: never an error but ours, nor an endless loop."""
    body = bytearray(encoded(objects)[:-20])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(body) + hashlib.sha1(body).digest()  # noqa: S324
    try:
        found = unpacked(changed, Limits(objects=1000, held=1 << 20, work=1 << 24))
    except Invalid:
        return
    for packed in found.objects.values():
        assert object_oid(packed.kind, found.content(packed)) == packed.oid


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_bytes_may_be_a_delta(base: bytes, steps: bytes) -> None:
    """Bytes that are no delta for this base are `Invalid`, and what they say they make is never exceeded."""
    try:
        made = apply_delta(base, size_of(len(base)) + steps)
    except Invalid:
        return
    assert len(made) == result_size(size_of(len(base)) + steps)


def _head_only(head: bytes) -> bytes:
    return head + hashlib.sha1(head).digest()  # noqa: S324


BASE = b"0123456789" * 10
WHOLE = stored(3, len(BASE), BASE)
REFUSED: dict[str, tuple[bytes, str]] = {
    "no pack": (_head_only(b"KCAP" + bytes(8)), "no git pack"),
    "version": (_head_only(b"PACK" + (4).to_bytes(4) + bytes(4)), "no git pack"),
    "checksum": (pack(WHOLE)[:-1] + b"\0", "checksum"),
    "too few": (pack(WHOLE, count=2), "inside an object"),
    "too many": (pack(WHOLE, WHOLE, count=1), "more bytes than objects"),
    "kind": (pack(stored(5, 1, b"x")), "unknown kind"),
    "no kind": (pack(stored(0, 1, b"x")), "unknown kind"),
    "larger than it says": (pack(stored(3, 5, b"123456")), "another size"),
    "smaller than it says": (pack(stored(3, 7, b"123456")), "another size"),
    "not zlib": (pack(b"\x31not compressed at all"), "cannot be inflated"),
    "endless size": (pack(b"\xff" * 30), "no size"),
    "delta on nothing": (pack(stored(6, 3, b"\0\0\0", offset(50))), "builds on nothing"),
    "delta on itself": (pack(stored(6, 3, b"\0\0\0", offset(0))), "builds on nothing"),
    "delta into an object": (
        pack(WHOLE, stored(6, 3, b"\0\0\0", offset(len(WHOLE) - 1))),
        "builds on nothing",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_pack_is_refused(case: str) -> None:
    """Each in words that say what is wrong."""
    made, said = REFUSED[case]
    with pytest.raises(Invalid, match=said):
        unpacked(made)


DELTAS: dict[str, bytes] = {
    "another base": size_of(3) + size_of(1) + insert(b"x"),
    "past the base": delta(BASE, 101, copy(0, 101)),
    "behind the base": delta(BASE, 1, copy(100, 1)),
    "more than it says": delta(BASE, 5, copy(0, 6)),
    "less than it says": delta(BASE, 7, copy(0, 6)),
    "reserved": delta(BASE, 1, b"\0"),
    "cut in a copy": delta(BASE, 6, copy(0, 6)[:-1]),
    "cut in an insert": delta(BASE, 6, b"\x06abc"),
    "no sizes": b"\xff" * 20,
    "empty": b"",
}


@pytest.mark.parametrize("case", DELTAS)
def test_bad_deltas_are_refused(case: str) -> None:
    """Alone, and in a pack."""
    with pytest.raises(Invalid):
        apply_delta(BASE, DELTAS[case])
    steps = DELTAS[case]
    with pytest.raises(Invalid):
        unpacked(pack(WHOLE, stored(6, len(steps), steps, offset(len(WHOLE)))))


def test_a_cycle_of_deltas_is_missing_its_bases() -> None:
    """Two deltas upon each other: neither is ever named, so both bases are lacking."""
    names = [b"\x11" * 20, b"\x22" * 20]
    steps = delta(BASE, 1, copy(0, 1))
    made = pack(stored(7, len(steps), steps, names[0]), stored(7, len(steps), steps, names[1]))
    found = unpacked(made)
    assert found.missing() == [Oid(name.hex()) for name in names]
    assert not found.objects


def chained(length: int, step: Callable[[int], bytes]) -> bytes:
    """A whole object and deltas, each upon the one before."""
    objects = [WHOLE]
    for number in range(length):
        steps = step(number)
        objects.append(stored(6, len(steps), steps, offset(len(objects[-1]))))
    return pack(*objects)


def test_a_chain_of_deltas_has_an_end() -> None:
    """As many deltas upon each other as the limit says, and no more."""
    made = chained(30, lambda number: delta(BASE, 100, insert(bytes([number])), copy(1, 99)))
    assert len(unpacked(made, Limits(chain=30)).objects) == 31
    with pytest.raises(TooLarge, match="deltas upon each other"):
        unpacked(made, Limits(chain=29))


def test_a_pack_of_many_objects_is_refused_by_its_head() -> None:
    """Before any of them is read."""
    with pytest.raises(TooLarge, match="250000 objects, this one has 4294967295"):
        unpacked(pack(count=0xFFFFFFFF))


@pytest.mark.parametrize("kind", [1, 2, 4])
def test_large_objects_other_than_files_are_refused(kind: int) -> None:
    """Their size alone is enough."""
    with pytest.raises(TooLarge, match="more than this server takes"):
        unpacked(pack(stored(kind, 1 << 40, b"")))


def test_large_files_are_named_but_not_held() -> None:
    """So that the refusal can say which they are."""
    data = bytes(3 << 20)
    found = unpacked(pack(stored(3, len(data), data)), Limits(held=1 << 20))
    assert {oid: packed.size for oid, packed in found.objects.items()} == {
        object_oid("blob", data): len(data)
    }


BOMB = 64 << 20
BOMBS: dict[str, Callable[[], bytes]] = {
    "more than it says": lambda: pack(stored(3, 10, bytes(BOMB))),
    "tree": lambda: pack(stored(2, BOMB, bytes(BOMB))),
    "delta": lambda: pack(WHOLE, stored(6, BOMB, bytes(BOMB), offset(len(WHOLE)))),
    "result": lambda: pack(WHOLE, stored(6, 20, delta(BASE, 1 << 40, copy(0, 100)), offset(len(WHOLE)))),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_do_not_fill_the_memory(case: str) -> None:
    """64 MB from 64 kB are refused before they are there."""
    bomb = BOMBS[case]()
    tracemalloc.start()
    try:
        with pytest.raises(Invalid):
            unpacked(bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 << 20


def test_a_large_file_is_read_in_passing() -> None:
    """64 MB of a file are hashed, for the refusal to name it, and not held."""
    made = pack(stored(3, BOMB, bytes(BOMB)))
    tracemalloc.start()
    try:
        assert len(unpacked(made).objects) == 1
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 << 20


def test_copying_over_and_over_is_too_much_work() -> None:
    """A small pack of deltas, each of which makes the same 64 kB."""
    large = bytes(65_535)
    steps = delta(large, 65_535, copy(0, 65_535))
    base = stored(3, len(large), large)
    made = pack(base, *[stored(7, len(steps), steps, bytes.fromhex(object_oid("blob", large)))] * 200)
    assert len(made) < 20_000
    with pytest.raises(TooLarge, match="more work"):
        unpacked(made, Limits(work=4 << 20))


def test_copying_single_bytes_is_too_much_work() -> None:
    """A step costs what it takes to do it, which is much more than the byte that it copies."""
    steps = delta(BASE, 100_000, *[b"\x90\x01"] * 100_000)
    made = pack(WHOLE, stored(6, len(steps), steps, offset(len(WHOLE))))
    assert len(made) < 1000
    with pytest.raises(TooLarge, match="more work"):
        unpacked(made, Limits(work=500 * 100_000))
    assert len(unpacked(made, Limits(work=700 * 100_000)).objects) == 2


def test_inserting_much_is_little_work() -> None:
    """A delta may bring much that is new: it is paid for by steps, not by its bytes."""
    new = [bytes([n % 256]) * 127 for n in range(1000)]
    steps = delta(BASE, 127_000, *map(insert, new))
    made = pack(WHOLE, stored(6, len(steps), steps, offset(len(WHOLE))))
    assert len(unpacked(made, Limits(work=12 * len(steps))).objects) == 2


def test_unpacking_can_be_stopped() -> None:
    """From another thread: what is under way ends, in the middle of a delta too."""
    steps = delta(BASE, 100_000, *[b"\x90\x01"] * 100_000)
    made = pack(WHOLE, stored(6, len(steps), steps, offset(len(WHOLE))))
    found = unpacker(made)
    found.scan()
    found.stop()
    with pytest.raises(Invalid, match="given up"):
        found.resolve()
    told: list[int] = []
    assert len(apply_delta(BASE, steps, told.append)) == sum(told) == 100_000
    assert max(told) < 2000


def test_a_small_object_may_be_much_work() -> None:
    """Whoever wants its content asks beforehand: it may be a byte of a megabyte, or be made in a million steps."""
    large = bytes(1 << 20)
    byte = delta(large, 1, copy(5, 1))
    dear = delta(BASE, 1000, *[b"\x90\x01"] * 1000)
    made = pack(
        stored(3, len(large), large),
        stored(7, len(byte), byte, bytes.fromhex(object_oid("blob", large))),
        WHOLE,
        stored(6, len(dear), dear, offset(len(WHOLE))),
    )
    found = unpacked(made)
    assert all(found.is_light(packed, 3 << 20) for packed in found.objects.values())
    found._recent.held.clear()
    light = {packed.size: found.is_light(packed, 100_000) for packed in found.objects.values()}
    assert light == {1 << 20: False, 1: False, 100: True, 1000: False}


def test_empty_blocks_are_work_too() -> None:
    """An object of nothing in a megabyte of empty deflate blocks, again and again."""
    stream = zlib.compressobj(0)
    empty = (
        stream.compress(b"")
        + b"".join([stream.flush(zlib.Z_FULL_FLUSH) for _ in range(50_000)])
        + stream.flush()
    )
    made = pack(*[b"\x30" + empty] * 4)
    with pytest.raises(TooLarge, match="more work"):
        unpacked(made, Limits(work=len(empty)))


def test_the_same_object_twice_is_one() -> None:
    """Both may be bases."""
    found = unpacked(pack(WHOLE, WHOLE))
    assert len(found.objects) == 1
    assert isinstance(next(iter(found.objects.values())), Packed)


def test_a_long_history_of_a_folder_is_little_work() -> None:
    """
    Chains of deltas as git makes them cost about what they hold, also when that is much more than is held in memory:
    a base that was just made is not made again for each delta upon it.
    """
    size, chain, chains = 40_000, 50, 30
    objects = []
    for number in range(chains):
        whole = number.to_bytes(4) + bytes(size - 4)
        objects.append(stored(2, size, whole))
        for step in range(chain):
            steps = delta(whole, size, copy(0, 4), insert((step + 1).to_bytes(4)), copy(8, size - 8))
            objects.append(stored(6, len(steps), steps, far(len(objects[-1]))))
    made = pack(*objects)
    content = size * (chain + 1) * chains
    assert len(unpacked(made, Limits(work=2 * content)).objects) == chains * (chain + 1)


def far(back: int) -> bytes:
    """How far back the base of a delta is: as `offset`, for less than 16 kB."""
    return offset(back) if back < 0x80 else bytes([(back - 0x80 >> 7) | 0x80, back & 0x7F])


def test_what_is_held_twice_weighs_once() -> None:
    """Else what was counted twice is never taken off again, and in the end nothing is held."""
    recent = _Recent(100)
    for _ in range(10):
        recent.put(1, bytes(40))
        recent.put(2, bytes(50))
    assert (recent.weight, sorted(recent.held)) == (90, [1, 2])
    recent.put(3, bytes(60))
    assert (recent.weight, sorted(recent.held)) == (60, [3])
    recent.put(4, bytes(101))
    assert (recent.weight, sorted(recent.held)) == (0, [])
