"""
The conditional and partial parts of HTTP (RFC 9110), as far as serving files needs them, and the Hub's
headers.

Everything is text in and text or numbers out. A header that makes no sense is treated as absent, as the RFC
wants; the one refusal is `RangeUnsatisfiable`.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from urllib.parse import quote

from hubreg.errors import RangeUnsatisfiable

_TAG = re.compile(r'(W/)?"([^"]*)"|([^\s,"]+)')
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]*)[ \t]*-[ \t]*([0-9]*)[ \t]*", re.IGNORECASE)
_LONGEST = 20  # digits of a number that may still be an offset


def if_none_match(header: str | None, etag: str) -> bool:
    """
    Whether the caller has this version already (answer 304). Compares weakly; `*` matches everything.

    `etag` may be quoted or bare, and so may what the caller sent: some clients keep the bare form.
    """
    if header is None:
        return False
    if header.strip() == "*":
        return True
    wanted = _opaque(etag)
    return any((match[2] if match[2] is not None else match[3]) == wanted for match in _TAG.finditer(header))


def if_range(header: str | None, etag: str) -> bool:
    """Whether a Range may be honoured: If-Range is absent, or names exactly this version. Dates never do."""
    if header is None:
        return True
    header = header.strip()
    return not header.startswith("W/") and not etag.startswith("W/") and _opaque(header) == _opaque(etag)


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """
    The bytes that are asked of a file of `size` bytes, as (start, end), the end exclusive and never past the
    file.

    None is the whole file: no Range, one that is malformed, or several (RFC 9110 14.2 lets a server ignore
    those). Raises `RangeUnsatisfiable` for a start at or past the end, with the `Content-Range: bytes */N`
    that goes with it.

    An empty file has no byte to give, but hf-hub 0.4 asks `bytes=0-0` for the size and takes 416 for fatal
    (CLIENTS 1, 8): any range from its beginning is None, the whole file. Send `content_range(0, 0, 0)` with
    that 200.
    """
    match = _RANGE.fullmatch(header) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(0, size - _number(match[2])), size
    else:
        start = _number(match[1])
        end = min(size, _number(match[2]) + 1) if match[2] else size
        if match[2] and _number(match[2]) < start:
            return None
    if size == 0 and start == 0:
        return None
    if start >= size:
        raise RangeUnsatisfiable(
            f"The range starts past the end: the file has {size} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _LONGEST else 10**_LONGEST


def content_range(start: int, end: int, size: int) -> str:
    """The Content-Range of a part that `parse_range` returned; of no bytes, `bytes */N`."""
    return f"bytes {start}-{end - 1}/{size}" if start < end else f"bytes */{size}"


def content_disposition(path: str) -> str:
    """
    `inline; filename*=UTF-8''config.json; filename="config.json";` as the Hub writes it (HUB 6.2).

    The client's regular expression wants the last `;`. What a quoted string cannot safely hold is `_` in the
    second form; the first has it all.
    """
    name = path.rpartition("/")[2]
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "_" for c in name)
    encoded = quote(name, safe="!#$&+^`|", errors="replace")
    return f"inline; filename*=UTF-8''{encoded}; filename=\"{plain}\";"


def weak_etag(body: bytes) -> str:
    """The Hub's ETag of JSON and text: the length in hex and most of the SHA-1 in base64 (HUB 3.3)."""
    digest = b64encode(hashlib.sha1(body, usedforsecurity=False).digest())
    return f'W/"{len(body):x}-{digest[:27].decode()}"'


def link_next(url: str) -> str:
    """The Link header that leads to the next page. The URL must be absolute: clients follow it as it is."""
    return f'<{quote(url, safe="%/:?#[]@!$&()*+,;=~" + chr(39))}>; rel="next"'
