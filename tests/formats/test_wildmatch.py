"""Git's patterns. C git itself judges them in test_gitattributes; here is what it does not say."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.formats import wildmatch

texts = st.text("ab*?[]\\/! é\n", max_size=12)


@given(texts)
def test_an_escaped_text_is_the_pattern_of_itself(text: str) -> None:
    """Whatever characters a path has, its pattern matches it and is known to match nothing else."""
    assert wildmatch.literal(wildmatch.escape(text)) == text
    assert wildmatch.compile_pattern(wildmatch.escape(text)).fullmatch(wildmatch.encode(text))


@given(texts)
def test_any_pattern_compiles(pattern: str) -> None:
    """No pattern is an error, however broken."""
    assert isinstance(wildmatch.compile_pattern(pattern), re.Pattern)


@given(texts, texts)
def test_a_literal_matches_one_text(pattern: str, text: str) -> None:
    """Where a pattern has no wildcard, comparing texts and matching say the same."""
    literal = wildmatch.literal(pattern)
    if literal is not None and not re.search(r"\\/", pattern):
        matches = wildmatch.compile_pattern(pattern).fullmatch(wildmatch.encode(text)) is not None
        assert matches == (literal == text)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 300 + "b", "a" * 1000),
        ("**/" + "*a*/" * 100 + "x", "/".join(["aaa"] * 250)),
        ("**/a/" * 100 + "x", "a/" * 490 + "b"),
        ("**/" + "a" * 250 + "b/**/x", "/".join(["a" * 250] * 3)),
        ("*" * 500 + "b", "a" * 1000),
        ("?" * 500 + "*[!a]" * 100, "a" * 1000),
    ],
)
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    """What makes a backtracking matcher run for years ends at once."""
    compiled = wildmatch.compile_pattern(pattern)
    began = time.process_time()
    assert compiled.fullmatch(wildmatch.encode(path)) is None
    assert time.process_time() - began < 0.5
