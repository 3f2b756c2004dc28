"""The tree of errors: the drawing, the statuses, and the words that clients know."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from hubreg import errors
from hubreg.errors import HubregError

# HUB 4 and CLIENT_API 1.4: the client picks its own exception by these.
HUB_WORDS = {"RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo"}


def below(kind: type[HubregError], depth: int = 0) -> Iterator[tuple[int, type[HubregError]]]:
    yield depth, kind
    for sub in kind.__subclasses__():
        if sub.__module__ == errors.__name__:
            yield from below(sub, depth + 1)


KINDS = [kind for _, kind in below(HubregError)]


def drawn() -> Iterator[tuple[int, str, int | None]]:
    """The lines of the drawing: depth, name, and the status where it is written."""
    for line in (errors.__doc__ or "").splitlines():
        if found := re.fullmatch(r"    ([│├└─ ]*)(\w+)(?: +(\d{3}))?", line):
            yield len(found[1]) // 4, found[2], int(found[3]) if found[3] else None


def test_the_drawing_is_the_tree() -> None:
    """The docstring shows every class where it is, with its status unless that is its parent's."""
    expected = []
    for depth, kind in below(HubregError):
        inherited = depth > 1 and kind.__mro__[1].status == kind.status  # type: ignore[attr-defined]
        expected.append((depth, kind.__name__, None if inherited else kind.status))
    assert list(drawn()) == expected


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_explains_itself(kind: type[HubregError]) -> None:
    """With a docstring of its own, which the documentation prints, and a status that HTTP has."""
    assert kind.__doc__
    assert kind.__doc__ != (kind.__mro__[1].__doc__ or "")
    assert 400 <= kind.status < 600


def test_the_words_that_clients_know() -> None:
    """They are the Hub's, on whichever status the Hub puts them."""
    statuses = {(kind.code, kind.status) for kind in KINDS if kind.code in HUB_WORDS}
    assert statuses == {
        ("RepoNotFound", 404),
        ("RepoNotFound", 401),
        ("RevisionNotFound", 404),
        ("EntryNotFound", 404),
        ("GatedRepo", 403),
        ("GatedRepo", 401),
    }


def test_an_error_carries_what_it_was_given() -> None:
    """Message and hint for people, headers and body for the wire; nothing is shared with the caller's own."""
    headers = {"X-Repo-Commit": "0" * 40}
    error = errors.EntryNotFound("No such file.", hint="Look again.", headers=headers, body={"url": "/a/b"})
    headers.clear()
    assert (str(error), error.message, error.hint) == ("No such file.", "No such file.", "Look again.")
    assert (error.headers, error.body) == ({"X-Repo-Commit": "0" * 40}, {"url": "/a/b"})
