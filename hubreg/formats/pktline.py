"""
pkt-lines, the framing of git's smart HTTP protocol (gitprotocol-common), and its side band.

A packet is four hexadecimal digits, its whole length, and the payload; three lengths below four are marks.
The decoder is fed whatever the socket gave, answers one packet at a time, and hands back what follows the
last one: a pack comes right behind the commands of a push. It holds what it was fed and nothing else, so the
caller's reads bound its memory.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator

from hubreg.errors import Invalid, TooLarge

MAX_PAYLOAD = 65516  # git's LARGE_PACKET_MAX without the length
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")


class Mark(enum.Enum):
    """A packet without payload. The value is its bytes."""

    FLUSH = b"0000"  # the end of a list, or of the message
    DELIM = b"0001"  # between the sections of a version 2 message
    RESPONSE_END = b"0002"  # the end of a version 2 answer over a stateless connection


class Band(enum.IntEnum):
    """The channels of side-band-64k."""

    PACK = 1
    PROGRESS = 2  # shown to the person, as `remote: ...`
    FATAL = 3  # the last packet: what went wrong


Packet = bytes | Mark


def encode(payload: bytes) -> bytes:
    """One packet. Raises `TooLarge` above `MAX_PAYLOAD`. Lines of text should end in a newline."""
    if len(payload) > MAX_PAYLOAD:
        raise TooLarge(f"A git packet holds at most {MAX_PAYLOAD} bytes.")
    return b"%04x%b" % (len(payload) + 4, payload)


def side_band(band: Band, data: bytes | memoryview) -> Iterator[bytes]:
    """Packets, each the largest that side-band-64k allows, that carry `data` on a channel."""
    view, most = memoryview(data), MAX_PAYLOAD - 1
    for start in range(0, len(view), most):
        piece = view[start : start + most]
        yield b"%04x%c" % (len(piece) + 5, band) + piece


class Decoder:
    """
    Packets out of bytes that come in pieces of any size. `limit` bounds the bytes of all packets together.

    Only what was asked for is decoded, so bytes behind the last packet of interest are never taken for
    packets.
    """

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._left = limit

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        self._buffer += data

    def next_packet(self) -> Packet | None:
        """
        The next packet, or None when more bytes are needed.

        Raises `Invalid` for a length that is none and `TooLarge` past the limit, and again when asked again.
        """
        head = bytes(self._buffer[:4])
        if len(head) < 4:
            return None
        length = self._length(head)
        if len(self._buffer) < max(length, 4):
            return None
        payload = bytes(self._buffer[4:length])
        del self._buffer[: max(length, 4)]
        self._left -= max(length, 4)
        return payload if length >= 4 else Mark(head)

    def _length(self, head: bytes) -> int:
        if not _LENGTH.fullmatch(head):
            raise Invalid("A git packet does not begin with its length.")
        length = int(head, 16)
        if length == 3 or length > MAX_PAYLOAD + 4:
            raise Invalid(f"A git packet cannot have the length {length}.")
        if max(length, 4) > self._left:
            raise TooLarge("The git request has more lines than this server takes.")
        return length

    def take_rest(self) -> bytes:
        """What was fed and not decoded: the beginning of what follows the packets."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def close(self) -> None:
        """Raises `Invalid` when the bytes ended inside a packet, or with packets that nobody has taken."""
        if self._buffer:
            raise Invalid("The git request ends inside a packet.")
