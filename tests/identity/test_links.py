"""Signed URLs: good for one thing, for a while."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import LinkRefused
from hubreg.identity.links import Links, number
from hubreg.model import Millis

NOW = 1_700_000_000_000


class Hands:
    """A clock whose hands the test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> Millis:
        return Millis(self.now)


def query(text: str) -> dict[str, str]:
    return dict(parse_qsl(text))


def test_a_link_does_what_it_was_signed_for() -> None:
    """The query that `sign` gives passes `check` with the same purpose and facts."""
    links = Links(b"secret", Hands())
    links.check("put", "repo", 12, query=query(links.sign("put", "repo", 12, seconds=60)))


def test_numbers_come_back_as_text() -> None:
    """What was signed as a number may be checked as the digits of a URL, and the other way round."""
    links = Links(b"secret", Hands())
    links.check("put", "12", query=query(links.sign("put", 12, seconds=60)))


@pytest.mark.parametrize(
    ("purpose", "facts"),
    [
        ("get", ("repo", 12)),
        ("put", ("other", 12)),
        ("put", ("repo", 13)),
        ("put", ("repo",)),
        ("put", ("repo", 12, "")),
        ("put", ("rep", "o12")),
        ("put", (12, "repo")),
        ("putrepo", (12,)),
    ],
)
def test_a_link_does_nothing_else(purpose: str, facts: tuple[str | int, ...]) -> None:
    """Another purpose, other facts, fewer or more of them, or the same in another order are refused."""
    links = Links(b"secret", Hands())
    signed = query(links.sign("put", "repo", 12, seconds=60))
    with pytest.raises(LinkRefused, match="not valid"):
        links.check(purpose, *facts, query=signed)


def test_a_link_ends() -> None:
    """A link holds up to its last second and not in the one after."""
    hands = Hands()
    links = Links(b"secret", hands)
    signed = query(links.sign("put", "repo", seconds=60))
    hands.now += 59_999
    links.check("put", "repo", query=signed)
    hands.now += 1
    with pytest.raises(LinkRefused, match="expired"):
        links.check("put", "repo", query=signed)


def test_the_end_cannot_be_put_off() -> None:
    """The expiry is part of what is signed."""
    links = Links(b"secret", Hands())
    signed = query(links.sign("put", "repo", seconds=60))
    signed["expires"] = str(int(signed["expires"]) + 1)
    with pytest.raises(LinkRefused, match="not valid"):
        links.check("put", "repo", query=signed)


def test_another_secret_ends_every_link() -> None:
    """A link of another server, or of this one before its secret was changed, is refused."""
    signed = query(Links(b"one", Hands()).sign("put", "repo", seconds=60))
    with pytest.raises(LinkRefused):
        Links(b"two", Hands()).check("put", "repo", query=signed)


@pytest.mark.parametrize("name", ["expires", "signature"])
@pytest.mark.parametrize("value", [None, "", "0", "-1", "1e9", "٣", "9" * 400, "\ud800", "é", "None"])
def test_whatever_is_sent_in_its_place_is_refused(name: str, value: str | None) -> None:
    """Missing, empty, huge, foreign digits, text that is no UTF-8: refused, never a failure."""
    links = Links(b"secret", Hands())
    signed = query(links.sign("put", "repo", seconds=60))
    signed.pop(name)
    if value is not None:
        signed[name] = value
    with pytest.raises(LinkRefused):
        links.check("put", "repo", query=signed)


@given(st.text(), st.lists(st.text() | st.characters(categories=["Cs"])), st.binary(min_size=1))
def test_any_facts_can_be_signed(purpose: str, facts: list[str], secret: bytes) -> None:
    """Whatever a path may decode to is signed and checked, lone surrogates included."""
    links = Links(secret, Hands())
    links.check(purpose, *facts, query=query(links.sign(purpose, *facts, seconds=1)))


def test_number_refuses_what_is_none() -> None:
    """A link's own numbers are digits or the link is refused."""
    assert number({"size": "12"}, "size") == 12
    for text in ("", "-1", "1.0", "0x10", "9" * 16):
        with pytest.raises(LinkRefused, match="size"):
            number({"size": text}, "size")
