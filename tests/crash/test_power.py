"""
A power cut behind any step of writing a blob, a xorb or a secret: whatever somebody was told is whole, nothing is half
there.

SIGKILL keeps what the kernel has; a power cut does not. `power.py` says what may be lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubreg.model import Sha256
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs
from hubreg.store.xorbs import XorbUpload
from tests.crash.power import Make, Move, Recorder, Remove, State, Step, Sync, SyncNames, Told, Write, crashes
from tests.xet_client import Xorb

pytestmark = pytest.mark.anyio

CONTENTS = [b"first content", b"second", b"", b"the third content"]


def sha256(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.prepare()
    return layout


# what is written; each says `told` when its caller goes on


async def publish(blobs: LocalBlobs, disk: Recorder) -> None:
    """A blob in several writes, and another one after it."""
    for content in CONTENTS[:2]:
        async with blobs.create() as upload:
            upload.write(content[:4])
            upload.write(content[4:])
            found = await upload.publish(sha256(content), len(content))
        disk.told(found.sha256)


async def publish_again(blobs: LocalBlobs, disk: Recorder) -> None:
    """The same content twice: the second replaces the first."""
    for _ in range(2):
        async with blobs.create() as upload:
            upload.write(CONTENTS[0])
            await upload.publish()
        disk.told(sha256(CONTENTS[0]))


async def put(blobs: LocalBlobs, disk: Recorder) -> None:
    """Several at once, one of them empty, one of them twice."""
    for found in await blobs.put([*CONTENTS, CONTENTS[0]]):
        disk.told(found.sha256)


async def parts(blobs: LocalBlobs, disk: Recorder) -> None:
    """A multipart upload, one of its parts sent twice, put together and recorded."""
    content = CONTENTS[0]
    blobs.part("upload", 6).write(content[6:])
    blobs.part("upload", 0).write(b"wrong!")
    blobs.part("upload", 0).write(content[:6])
    await blobs.assemble("upload", sha256(content), len(content))
    disk.told(sha256(content))
    await blobs.drop_parts("upload")


async def parts_over_a_blob(blobs: LocalBlobs, disk: Recorder) -> None:
    """A multipart upload of what is there already, asked to be put together twice."""
    await publish(blobs, disk)
    blobs.part("upload", 0).write(CONTENTS[0])
    for _ in range(2):
        await blobs.assemble("upload", sha256(CONTENTS[0]), len(CONTENTS[0]))


async def given_up(blobs: LocalBlobs, disk: Recorder) -> None:
    """An upload that fails half way, beside one that does not."""
    with pytest.raises(LookupError):
        async with blobs.create() as upload:
            upload.write(b"half")
            raise LookupError
    await put(blobs, disk)


WAYS: dict[str, Callable[[LocalBlobs, Recorder], Any]] = {
    way.__name__: way for way in (publish, publish_again, put, parts, parts_over_a_blob, given_up)
}


async def record(layout: Layout, way: str, forgotten: str = "") -> list[Step]:
    disk = Recorder(forgotten)
    blobs = LocalBlobs(layout, disk, threads=1)
    await WAYS[way](blobs, disk)
    blobs.close()
    return disk.steps


def check(layout: Layout, state: State, told: set[str]) -> None:
    """What a start after the cut finds."""
    kept = {path: data for path, data in state.items() if layout.blobs in path.parents}
    for path, data in kept.items():
        assert sha256(data) == path.name, "a blob is not what its name says"
    missing = told - {path.name for path in kept}
    assert not missing, "somebody was told that it is safe"


@pytest.mark.parametrize("way", WAYS)
async def test_a_power_cut_behind_any_step(layout: Layout, way: str) -> None:
    """Every state that the disk may be in then, of which there are many, passes."""
    steps = await record(layout, way)
    states = 0
    for at in range(len(steps) + 1):
        told = {step.what for step in steps[:at] if isinstance(step, Told)}
        for state in crashes(steps[:at]):
            check(layout, state, told)
            states += 1
    assert states > len(steps)


@pytest.mark.parametrize("forgotten", ["sync", "sync_directory"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_forgotten_sync_is_found(layout: Layout, way: str, forgotten: str) -> None:
    """The model itself: without either of the two syncs some state breaks a promise."""
    steps = await record(layout, way, forgotten)
    told = {step.what for step in steps if isinstance(step, Told)}
    with pytest.raises(AssertionError):
        for state in crashes(steps):
            check(layout, state, told)


async def test_a_start_after_the_cut(layout: Layout, tmp_path: Path) -> None:
    """A few states on a real disk: temporary files are swept, multipart uploads stay, the same again works."""
    steps = await record(layout, "given_up")
    for path in [*layout.incoming.iterdir(), *layout.blobs.glob("*/*")]:
        path.unlink()
    for at in range(len(steps) + 1):
        *_, state = crashes(steps[:at])
        for path, data in state.items():
            path.write_bytes(data)
        blobs = LocalBlobs(layout)
        blobs.sweep()
        assert list(layout.incoming.iterdir()) == []
        await blobs.put(CONTENTS)
        for content in CONTENTS:
            assert layout.blob(sha256(content)).read_bytes() == content
            layout.blob(sha256(content)).unlink()
        blobs.close()


# xorbs


async def send(layout: Layout, disk: Recorder) -> dict[Path, bytes]:
    """Two xorbs, one of them with a footer that is not kept; each is told of when its row may be written."""
    kept: dict[Path, bytes] = {}
    for xorb in (Xorb((b"first", b"second"), footer=b"XETBLOB" + bytes(9)), Xorb((b"third",))):
        upload = XorbUpload(layout, disk)
        for at in range(0, len(xorb.body), 20):
            upload.write(xorb.body[at : at + 20])
        row = upload.finish(xorb.name)
        path = layout.xorb(row.hash, row.tag)
        kept[path] = xorb.body[: row.size]
        disk.told(str(path))
    return kept


def check_xorbs(layout: Layout, state: State, told: set[str], kept: dict[Path, bytes]) -> None:
    """Whatever is in its place is whole; what a row may name is there."""
    there = {path: data for path, data in state.items() if layout.xorbs in path.parents}
    assert all(kept[path] == data for path, data in there.items()), "a xorb is not what was sent"
    assert told <= set(map(str, there)), "a row may name what is not there"


async def test_a_xorb_through_a_power_cut(layout: Layout) -> None:
    """Behind any step, in every state that the disk may be in then."""
    disk = Recorder()
    kept = await send(layout, disk)
    assert kept, "nothing was sent"
    for at in range(len(disk.steps) + 1):
        told = {step.what for step in disk.steps[:at] if isinstance(step, Told)}
        for state in crashes(disk.steps[:at]):
            check_xorbs(layout, state, told, kept)


@pytest.mark.parametrize("forgotten", ["sync", "sync_directory"])
async def test_a_forgotten_sync_of_a_xorb_is_found(layout: Layout, forgotten: str) -> None:
    """The model itself, again."""
    disk = Recorder(forgotten)
    kept = await send(layout, disk)
    told = {step.what for step in disk.steps if isinstance(step, Told)}
    with pytest.raises(AssertionError):
        for state in crashes(disk.steps):
            check_xorbs(layout, state, told, kept)


# private files


@pytest.fixture
def old(layout: Layout) -> State:
    layout.write_private(layout.admin_token, b"the old token")
    return {layout.admin_token: b"the old token"}


async def test_a_private_file_through_a_power_cut(layout: Layout, old: State) -> None:
    """It is the old one or the new one, and the new one once its writer has gone on."""
    disk = Recorder()
    layout.write_private(layout.admin_token, b"the new token", disk)
    for at in range(len(disk.steps) + 1):
        for state in crashes(disk.steps[:at], old):
            assert state[layout.admin_token] in (b"the old token", b"the new token")
    assert {state[layout.admin_token] for state in crashes(disk.steps, old)} == {b"the new token"}


async def test_the_secret_through_a_power_cut(layout: Layout) -> None:
    """It is not there or whole; once it was read it is there for good."""
    disk = Recorder()
    secret = layout.read_secret(disk)
    for at in range(len(disk.steps) + 1):
        for state in crashes(disk.steps[:at]):
            assert state.get(layout.secret, secret) == secret
    assert {state.get(layout.secret) for state in crashes(disk.steps)} == {secret}


# the model


def test_what_was_not_synced_may_be_lost() -> None:
    """Bytes are there, lost or zeros; a name is there or not; each without the other."""
    path = Path("/d/a")
    steps: list[Step] = [Make(path, 0), Write(0, 0, b"xy")]
    assert states(steps) == [{}, {path: b""}, {path: b"\0\0"}, {path: b"xy"}]
    assert states([*steps, Sync(0)]) == [{}, {path: b"xy"}]
    assert states([*steps, SyncNames(path.parent)]) == [{path: b""}, {path: b"\0\0"}, {path: b"xy"}]
    assert states([*steps, Sync(0), SyncNames(path.parent)]) == [{path: b"xy"}]


def test_a_move_is_not_half_done() -> None:
    """Old name or new name, never both or none, once the old one was safe; either directory's sync settles it."""
    old, new = Path("/d/a"), Path("/e/b")
    steps: list[Step] = [Make(old, 0), Write(0, 0, b"x"), Sync(0), SyncNames(old.parent), Move(old, new)]
    assert states(steps) == [{old: b"x"}, {new: b"x"}]
    assert states([*steps, SyncNames(new.parent)]) == [{new: b"x"}]
    assert states([*steps[:3], Move(old, new)]) == [{}, {old: b"x"}, {new: b"x"}]
    assert states([*steps[:3], Move(old, new), SyncNames(new.parent)]) == [{new: b"x"}]


def test_names_of_different_files_are_independent() -> None:
    """The later one may be there without the earlier one; a removal may not have happened."""
    a, b = Path("/d/a"), Path("/d/b")
    steps: list[Step] = [Make(a, 0), Make(b, 1)]
    assert states(steps) == [{}, {a: b""}, {a: b"", b: b""}, {b: b""}]
    assert states([*steps, SyncNames(a.parent), Remove(a)]) == [{a: b"", b: b""}, {b: b""}]


def states(steps: list[Step]) -> list[State]:
    return sorted(crashes(steps), key=lambda state: sorted(state.items()))
