"""Conditional and partial requests, and the headers that the Hub writes its own way."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import RangeUnsatisfiable
from hubreg.formats.conditional import (
    content_disposition,
    content_range,
    if_none_match,
    if_range,
    link_next,
    parse_range,
    weak_etag,
)

# Recorded of the real Hub: the body as it was on the wire, and the ETag that came with it.
RECORDED = [
    (b"Invalid username or password.", 'W/"1d-DMkJvg8tpLoaQbsiq9Mz7l2CJyI"'),
    (b"Entry not found", 'W/"f-mY2VvLxuxB7KhsoOdQTlMTccuAQ"'),
    (b'{"error":"Invalid username or password."}', 'W/"29-dEMcHWfJi78ZR1aqzb1ELAhp3Us"'),
    (
        b'{"error":"You already created this model repo: acme-user/test",'
        b'"url":"https://huggingface.co/acme-user/test"}',
        'W/"6d-Dure47gjdn1+SHEc3VvRObecQxU"',
    ),
    (
        b'{"files":[{"path":"regression/ref-lfs.bin","uploadMode":"lfs","shouldIgnore":false},'
        b'{"path":"regression/ref-regular.txt","uploadMode":"regular","shouldIgnore":false}],'
        b'"commitOid":"ec5651b54bca7fad5235951f9dde32eda1bf09ce"}',
        'W/"de-ENs9GEVikmvzG19RM/mDcipghmA"',
    ),
    (
        b'{"success":true,"commitOid":"bcf51b2ec6fb5bc8215f4b365a0e48532e26abb8","commitUrl":'
        b'"https://huggingface.co/acme-user/test/commit/bcf51b2ec6fb5bc8215f4b365a0e48532e26abb8","hookOutput":""}',
        'W/"bb-z+/JZOc9lsT0EsY3CaaHPqHPHkM"',
    ),
]


@pytest.mark.parametrize(("body", "etag"), RECORDED)
def test_the_weak_etag_is_the_hubs(body: bytes, etag: str) -> None:
    """The formula reproduces the headers that were recorded (HUB 3.3)."""
    assert weak_etag(body) == etag


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (None, False), ("", False), ("*", True), ('"abc"', True), ('W/"abc"', True), ("abc", True),
        ('"x", "abc"', True),
        ('W/"x" ,W/"abc"', True), ('"abcd"', False), ('"ab", "c"', False), ('"x,abc"', False), ('"', False),
    ],
)  # fmt: skip
def test_if_none_match_compares_weakly(header: str | None, known: bool) -> None:
    """Quoted, weak, bare or in a list: the version is the same or it is not."""
    assert if_none_match(header, '"abc"') is known
    assert if_none_match(header, "abc") is known


@pytest.mark.parametrize(
    ("header", "honoured"),
    [(None, True), ('"abc"', True), ("abc", True), ('W/"abc"', False), ('"x"', False),
     ("Wed, 21 Oct 2026 07:28:00 GMT", False)],
)  # fmt: skip
def test_if_range_compares_strongly(header: str | None, honoured: bool) -> None:
    """A resumed download of another version begins anew."""
    assert if_range(header, '"abc"') is honoured
    assert not if_range('W/"abc"', 'W/"abc"')


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)), ("bytes=2-4", (2, 5)), ("bytes=5-", (5, 10)), ("bytes=-3", (7, 10)),
        ("bytes=0-", (0, 10)),
        ("bytes=8-10", (8, 10)), ("bytes=-99", (0, 10)), ("BYTES = 1 - 2 ", (1, 3)), ("bytes=9-9", (9, 10)),
        ("bytes=0-" + "9" * 5000, (0, 10)), ("bytes=" + "0" * 5000 + "1-2", (1, 3)),
    ],
)  # fmt: skip
def test_one_range_is_a_part_of_the_file(header: str, part: tuple[int, int]) -> None:
    """Closed, open, suffix; an end past the file is clamped, which hf-hub 0.4 needs (CLIENTS 1, 8)."""
    assert parse_range(header, 10) == part


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=0--1", "bytes=5-3", "bytes=0-1,3-4", "items=0-1",
     "bytes=0-1;x", "bytes=+1-2", "bytes=\u0661-2", "0-1", "bytes=0x1-2", "bytes=-0-1"],
)  # fmt: skip
def test_what_is_no_single_range_is_the_whole_file(header: str | None) -> None:
    """Malformed or several ranges are ignored, as RFC 9110 lets a server do."""
    assert parse_range(header, 10) is None


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=" + "9" * 5000 + "-"])
def test_a_range_past_the_end_says_how_long_the_file_is(header: str) -> None:
    """416 carries `Content-Range: bytes */N`."""
    with pytest.raises(RangeUnsatisfiable) as refused:
        parse_range(header, 10)
    assert refused.value.headers == {"Content-Range": "bytes */10"}


def test_an_empty_file_answers_the_question_for_its_size() -> None:
    """hf-hub 0.4 asks `bytes=0-0` of every file and needs a 2xx with a Content-Range; past the start is still 416."""
    for header in ("bytes=0-0", "bytes=0-", "bytes=-5", "bytes=0-99"):
        assert parse_range(header, 0) is None
    assert content_range(0, 0, 0) == "bytes */0"
    with pytest.raises(RangeUnsatisfiable):
        parse_range("bytes=1-", 0)


@given(st.text("bytes=0123456789-, ", max_size=20) | st.text(max_size=20), st.integers(0, 10**13))
def test_a_part_always_lies_within_the_file(header: str, size: int) -> None:
    """No header yields bytes that are not there, or none at all."""
    try:
        part = parse_range(header, size)
    except RangeUnsatisfiable:
        return
    if part is not None:
        assert 0 <= part[0] < part[1] <= size
        assert content_range(*part, size) == f"bytes {part[0]}-{part[1] - 1}/{size}"


def test_content_disposition_is_the_hubs() -> None:
    """Recorded of the Hub for a file in the root (HUB 6.2); of a path the last segment counts."""
    expected = "inline; filename*=UTF-8''config.json; filename=\"config.json\";"
    assert content_disposition("config.json") == content_disposition("a/b/config.json") == expected


@given(st.text(min_size=1, max_size=40))
def test_no_name_breaks_out_of_the_disposition(name: str) -> None:
    """Whatever the name, the header is one line of ASCII, and clients find the name in it."""
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    match = re.fullmatch(r"inline; filename\*=UTF-8''(\S*); filename=\"([^\"\\]*)\";", header)
    assert match is not None
    assert unquote(match[1]) == name.rpartition("/")[2].encode("utf-8", "replace").decode()


def test_the_next_page_is_a_link() -> None:
    """The URL comes through as it is."""
    url = "https://hub.example:8443/hf/api/models?filter=a%2Fb&expand[]=sha&cursor=a+b==&limit=2"
    assert link_next(url) == f'<{url}>; rel="next"'


@given(st.text(max_size=40))
def test_no_url_breaks_out_of_the_link(url: str) -> None:
    """Neither brackets nor line ends of a URL end the link early."""
    try:
        header = link_next(url)
    except UnicodeEncodeError:
        return
    assert re.fullmatch(r'<[!-;=?-~]*>; rel="next"', header)
