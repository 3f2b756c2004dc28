"""pkt-lines: git's own, and those that nobody should send."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import Invalid, TooLarge
from hubreg.formats.pktline import MAX_PAYLOAD, Band, Decoder, Mark, Packet, encode, side_band

packets = st.lists(st.binary(max_size=20) | st.sampled_from(Mark), max_size=8)


def written(packets: list[Packet]) -> bytes:
    return b"".join(packet.value if isinstance(packet, Mark) else encode(packet) for packet in packets)


def decoded(decoder: Decoder) -> list[Packet]:
    """All packets that are complete."""
    found: list[Packet] = []
    while (packet := decoder.next_packet()) is not None:
        found.append(packet)
    return found


@given(packets, st.lists(st.integers(0, 200)), st.binary(max_size=3))
def test_packets_come_out_as_they_went_in(packets: list[Packet], cuts: list[int], rest: bytes) -> None:
    """However the bytes were cut on the way, the packets are the same, and what follows them is handed back."""
    data, decoder, found, at = written(packets) + rest, Decoder(1000), list[Packet](), 0
    for cut in [*sorted(cuts), len(data)]:
        decoder.feed(memoryview(data)[at:cut])
        found += decoded(decoder)
        at = max(at, cut)
    assert found == packets
    assert decoder.take_rest() == rest
    decoder.close()


@pytest.mark.parametrize(
    ("payload", "packet"),
    [(b"a\n", b"0006a\n"), (b"a", b"0005a"), (b"foobar\n", b"000bfoobar\n"), (b"", b"0004")],
)
def test_the_examples_of_gits_documentation(payload: bytes, packet: bytes) -> None:
    """The four packets that gitprotocol-common shows, both ways."""
    assert encode(payload) == packet
    decoder = Decoder(100)
    decoder.feed(packet)
    assert decoded(decoder) == [payload]


def test_git_understands_us_and_we_git(tmp_path: Path) -> None:
    """A version 2 question made here is answered by `git upload-pack`, and its answer read here: a ref, a flush."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    asked = (
        encode(b"command=ls-refs\n")
        + Mark.DELIM.value
        + encode(b"ref-prefix refs/heads/\n")
        + Mark.FLUSH.value
    )
    answer = subprocess.run(
        [*git, "upload-pack", "--stateless-rpc", "."],
        input=asked, env={"GIT_PROTOCOL": "version=2"}, check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    decoder = Decoder(10_000)
    decoder.feed(answer.stdout)
    ref, end = decoded(decoder)
    assert isinstance(ref, bytes)
    assert ref.endswith(b" refs/heads/main\n")
    assert end is Mark.FLUSH
    decoder.close()


def test_what_follows_the_flush_is_never_decoded() -> None:
    """A push is commands, a flush and a pack: whoever stops at the flush gets the pack's first bytes as they are."""
    decoder = Decoder(100)
    decoder.feed(encode(b"old new refs/heads/main") + Mark.FLUSH.value + b"PACK\0\0")
    assert decoder.next_packet() == b"old new refs/heads/main"
    assert decoder.next_packet() is Mark.FLUSH
    assert decoder.take_rest() == b"PACK\0\0"


@pytest.mark.parametrize(
    "data",
    [
        b"0003",
        b"fff1" + bytes(70_000),
        b"ffff",
        b"PACK",
        b"00 6a\n",
        b"+006a\n",
        b"0x06a\n",
        b"-001",
        b"00_6",
        b"\xef\xbc\x90\xef",
    ],
)
def test_a_length_that_is_none_is_invalid(data: bytes) -> None:
    """Not hexadecimal, reserved, or longer than git allows; and it stays so, whatever is fed after it."""
    decoder = Decoder(1_000_000)
    decoder.feed(encode(b"good") + data)
    assert decoder.next_packet() == b"good"
    for _ in range(2):
        with pytest.raises(Invalid, match="git packet"):
            decoder.next_packet()
        decoder.feed(b"0000")


@given(packets, st.data())
def test_packets_cut_short_are_invalid_at_the_end(packets: list[Packet], data: st.DataObject) -> None:
    """A body that ends inside a packet is not taken for one that ends before it."""
    whole = written([*packets, b"last"])
    decoder = Decoder(1000)
    decoder.feed(whole[: data.draw(st.integers(len(whole) - 7, len(whole) - 1))])
    assert decoded(decoder) == packets
    with pytest.raises(Invalid, match="inside a packet"):
        decoder.close()


def test_all_packets_together_are_bounded() -> None:
    """The limit counts lengths and marks too, and is refused before the bytes of the packet have come."""
    decoder = Decoder(14)
    decoder.feed(b"0000" + encode(b"aa") + b"0000")
    assert decoded(Decoder(14)) == []
    assert decoded(decoder) == [Mark.FLUSH, b"aa", Mark.FLUSH]
    decoder.feed(b"0000")
    with pytest.raises(TooLarge):
        decoder.next_packet()
    early = Decoder(14)
    early.feed(b"000f")
    with pytest.raises(TooLarge):
        early.next_packet()


@given(st.binary(max_size=40))
def test_noise_fails_in_the_ways_that_are_told(data: bytes) -> None:
    """No bytes make the decoder fail in another way, or answer with more than it was fed."""
    decoder = Decoder(30)
    decoder.feed(data)
    with suppress(Invalid):
        assert len(written(decoded(decoder))) <= min(len(data), 30)
        decoder.close()


def test_a_packet_can_be_too_large_to_write() -> None:
    """The largest payload is git's; one byte more is refused."""
    assert encode(bytes(MAX_PAYLOAD))[:4] == b"fff0"
    with pytest.raises(TooLarge):
        encode(bytes(MAX_PAYLOAD + 1))


@pytest.mark.parametrize("size", [0, 1, MAX_PAYLOAD - 1, MAX_PAYLOAD, 200_000])
def test_side_band_carries_data_of_any_size(size: int) -> None:
    """The channel's number and a piece in each packet, none larger than git takes, and all of the data in order."""
    data = (b"0123456789" * (size // 10 + 1))[:size]
    decoder = Decoder(1_000_000)
    for packet in side_band(Band.PROGRESS, data):
        decoder.feed(packet)
    found = [packet for packet in decoded(decoder) if isinstance(packet, bytes)]
    assert b"".join(packet[1:] for packet in found) == data
    assert {packet[0] for packet in found} == ({2} if size else set())
    assert len(found) == -(-size // (MAX_PAYLOAD - 1))
