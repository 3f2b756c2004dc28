"""The hash chain of the audit log: what was written stays as it was, or is found out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import Damaged
from hubreg.formats.chain import GENESIS, Link, link, verify
from hubreg.model import Sha256

bodies = st.lists(st.binary(max_size=40), min_size=1, max_size=8)


def chain(bodies: list[bytes]) -> list[Link]:
    links: list[Link] = []
    for body in bodies:
        links.append(link(links[-1] if links else None, body))
    return links


def test_the_first_link_is_the_same_for_ever() -> None:
    """The digest of a known first link never changes: another one would orphan every log already written."""
    digest = Sha256("de9d68f35ea3be88d58c844298282b28189036a9ecf61b79ac2a1bedbec97e39")
    assert chain([b"{}"])[0] == Link(1, GENESIS, b"{}", digest)


@given(bodies)
def test_an_untouched_chain_holds(bodies: list[bytes]) -> None:
    """Whatever the bodies are, a chain verifies from its start and from any link that is trusted already."""
    links = chain(bodies)
    assert list(verify(links)) == links
    for at, trusted in enumerate(links):
        assert list(verify(links[at + 1 :], after=trusted)) == links[at + 1 :]


@given(bodies, st.data())
def test_a_changed_link_is_found_where_it_was_changed(bodies: list[bytes], data: st.DataObject) -> None:
    """Changing any part of one link stops verification there, after yielding all before it."""
    links = chain(bodies)
    at = data.draw(st.integers(0, len(links) - 1))
    changes = [
        replace(links[at], body=links[at].body + b"!"),
        replace(links[at], digest=Sha256("1" * 64)),
        replace(links[at], previous=Sha256("no digest at all")),
        replace(links[at], serial=at + 2),
    ]
    links[at] = data.draw(st.sampled_from(changes))
    held: list[Link] = []
    with pytest.raises(Damaged, match=r"link \d+ "):
        for good in verify(links):
            held.append(good)
    assert held == links[:at]


@given(bodies, st.data())
def test_a_body_changed_with_its_digest_breaks_the_next_link(
    bodies: list[bytes], data: st.DataObject
) -> None:
    """Whoever also mends the digest of the link they changed is found out at the link after it."""
    links = chain([*bodies, b"last"])
    at = data.draw(st.integers(0, len(links) - 2))
    links[at] = link(links[at - 1] if at else None, links[at].body + b"!")
    with pytest.raises(Damaged, match=f"link {at + 2} "):
        list(verify(links))


@given(bodies, st.data())
def test_a_dropped_link_is_found(bodies: list[bytes], data: st.DataObject) -> None:
    """Dropping any link but the last breaks the one after it. The last is what checkpoints are for."""
    links = chain([*bodies, b"last"])
    del links[data.draw(st.integers(0, len(links) - 2))]
    with pytest.raises(Damaged):
        list(verify(links))


@given(bodies, st.data())
def test_links_in_another_order_are_found(bodies: list[bytes], data: st.DataObject) -> None:
    """Two neighbours that changed places do not verify, nor does a link said twice."""
    links = chain([*bodies, b"last"])
    at = data.draw(st.integers(0, len(links) - 2))
    for wrong in ([*links[:at], links[at + 1], links[at], *links[at + 2 :]], [*links[: at + 1], *links[at:]]):
        with pytest.raises(Damaged):
            list(verify(wrong))
