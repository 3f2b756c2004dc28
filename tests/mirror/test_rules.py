"""Which repos come from where: patterns, their order, what denies."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import Invalid
from hubreg.mirror.rules import Mode, Rule, candidates, check_pattern, rule_for
from hubreg.model import RepoType

MODEL, DATASET = RepoType.MODEL, RepoType.DATASET

segments = st.text("ab-._", min_size=1, max_size=8)
patterns = st.text("ab-._*?", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "openai-community/gpt2", True),
        ("*", "gpt2", True),
        ("*/*", "openai-community/gpt2", True),
        ("*/*", "gpt2", False),
        ("meta-llama", "meta-llama/Llama-3", True),
        ("meta-llama/*", "Meta-Llama/Llama-3", True),
        ("meta-*/*", "meta-llama/Llama-3", True),
        ("meta-llama/llama-?", "meta-llama/Llama-3", True),
        ("meta-llama/llama-?", "meta-llama/Llama-31", False),
        ("meta", "meta-llama/Llama-3", False),
        ("a*b", "a/b", False),
        ("gpt2", "gpt2", True),
    ],
)
def test_patterns(pattern: str, name: str, expected: bool) -> None:
    """Segment by segment, in any case; without a slash it is the namespace that counts."""
    assert Rule(pattern).matches(MODEL, name) is expected


@given(patterns, segments)
def test_patterns_agree_with_the_standard_library(pattern: str, name: str) -> None:
    """`*` and `?` mean what they mean to a shell."""
    assert Rule(f"{pattern}/x").matches(MODEL, f"{name}/x") is fnmatch.fnmatchcase(name, pattern)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    """No name makes matching take for ever: a regular expression would."""
    assert not Rule("*a" * 60).matches(MODEL, "a" * 59 + "/x")


@pytest.mark.parametrize("pattern", ["", "a/b/c", "/", "a/", "a b", "a" * 300, "[ab]/*", "a\n"])
def test_bad_patterns(pattern: str) -> None:
    """What is no pattern is refused with a sentence, when the rule is made."""
    with pytest.raises(Invalid):
        check_pattern(pattern)


def test_patterns_are_kept_in_lower_case() -> None:
    """Names are looked up without regard to case, so rules are too."""
    assert check_pattern("Meta-Llama/*") == "meta-llama/*"


def test_types() -> None:
    """A rule may be for models alone."""
    rule = Rule("*", type=MODEL)
    assert rule.matches(MODEL, "a/b")
    assert not rule.matches(DATASET, "a/b")


DENY = Rule("evil/*", Mode.DENY)
FIRST, SECOND = Rule("*", upstream_id=1), Rule("*", Mode.OFFLINE, upstream_id=2)


def test_the_first_that_denies_ends_the_search() -> None:
    """What stands before it still counts, what stands behind it does not."""
    assert candidates([DENY, FIRST], MODEL, "evil/x") == [DENY]
    assert candidates([FIRST, DENY, SECOND], MODEL, "evil/x") == [FIRST, DENY]
    assert candidates([DENY, FIRST, SECOND], MODEL, "good/x") == [FIRST, SECOND]


def test_one_rule_for_each_upstream() -> None:
    """The first that matches says how: a narrow rule before a wide one."""
    narrow = Rule("big/*", Mode.PINNED, upstream_id=1)
    assert candidates([narrow, FIRST, SECOND], MODEL, "big/x") == [narrow, SECOND]
    assert rule_for([narrow, FIRST], MODEL, "big/x", 1) == narrow
    assert rule_for([narrow, FIRST], MODEL, "other/x", 1) == FIRST


def test_a_repo_stays_with_its_upstream() -> None:
    """Another upstream's rule never counts for it (PITFALLS 12); one that denies does, if it comes first."""
    assert rule_for([SECOND], MODEL, "a/b", 1) is None
    assert rule_for([SECOND, FIRST], MODEL, "a/b", 1) == FIRST
    assert rule_for([DENY, FIRST], MODEL, "evil/b", 1) == DENY
    assert rule_for([FIRST, DENY], MODEL, "evil/b", 1) == FIRST


modes = st.sampled_from(Mode)
rules = st.builds(
    Rule,
    pattern=st.sampled_from(["*", "a", "a/*", "*/b", "a/b", "?/b"]),
    mode=modes,
    upstream_id=st.integers(1, 3),
    type=st.sampled_from([None, MODEL, DATASET]),
)


@given(st.lists(rules, max_size=8), st.sampled_from(["a/b", "a/c", "b/b", "a"]))
def test_what_any_list_of_rules_comes_to(given_: list[Rule], name: str) -> None:
    """In order, all matching, nothing behind a denial, no upstream twice; and each upstream's own is among them."""
    found = candidates(given_, MODEL, name)
    assert all(rule.matches(MODEL, name) for rule in found)
    assert all(rule.mode is not Mode.DENY for rule in found[:-1])
    asked = [rule.upstream_id for rule in found if rule.mode is not Mode.DENY]
    assert len(set(asked)) == len(asked)
    places = [given_.index(rule) for rule in found]
    assert places == sorted(places)
    for upstream in (1, 2, 3):
        one = rule_for(given_, MODEL, name, upstream)
        assert one is None or one in found
