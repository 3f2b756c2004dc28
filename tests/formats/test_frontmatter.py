"""The YAML of cards: plain values, read as the Hub reads them, whoever wrote it."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import Invalid
from hubreg.formats.frontmatter import parse, split


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("---\na: 1\n---\nbody\n", ("a: 1", "body\n")),
        ("---\r\na: 1\r\n---\r\nbody", ("a: 1", "body")),
        ("\n \n---\na: 1\n---", ("a: 1", "")),
        ("\ufeff--- \na: 1\n---\t\nb\n---\n", ("a: 1", "b\n---\n")),
        ("---\n---\nbody", ("", "body")),
        ("---\na: |\n  ---\n  x\n---\n", ("a: |\n  ---\n  x", "")),
        ("---\n----\na: 1\n---\n", ("----\na: 1", "")),
        ("a: 1\n---\n", (None, "a: 1\n---\n")),
        ("---\na: 1\n", (None, "---\na: 1\n")),
        ("----\na: 1\n----\n", (None, "----\na: 1\n----\n")),
        ("", (None, "")),
    ],
)
def test_the_metadata_is_between_two_lines(text: str, parts: tuple[str | None, str]) -> None:
    """As the Python client's expression has it: blanks may come first, and the first closing line ends it."""
    assert split(text) == parts


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("true", True), ("False", False), ("~", None), ("", None),
        ("null", None), ("2024-01-01", "2024-01-01"), ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("12:30", "12:30"),
        ("1", 1), ("-7", -7), ("0o17", 15), ("0xff", 255), ("1_000", "1_000"), ("1.10", 1.1), (".5", 0.5),
        ("1e3", 1000.0),
        ("1.", 1.0), (".nan", None), ("-.inf", None), ("1e999", None), ("9" * 30, 1e30), ("9" * 5000, None),
        ('"1"', "1"), ("'no'", "no"), ("!!str 1", "1"), ("! 1", "1"), ('!!int "1"', 1), ("=", "="), ("<<", "<<"),
        ("[a, 1]", ["a", 1]), ("{a: no}", {"a": "no"}), ("|\n  x\n  y", "x\ny"), ("\u0661", "\u0661"),
    ],
)  # fmt: skip
def test_scalars_are_read_by_the_core_schema(scalar: str, value: object) -> None:
    """Norway is a language, a date is text, and what JSON has no number for is null."""
    assert parse(f"k: {scalar}") == ({"k": value}, [])


def test_keys_are_text() -> None:
    """JSON has no other keys: a number, a constant and a date are written out."""
    assert parse("1: a\nyes: b\nnull: c\n2024-01-01: d") == (
        {"1": "a", "yes": "b", "null": "c", "2024-01-01": "d"},
        [],
    )


def test_aliases_are_what_they_repeat() -> None:
    """Dumpers write them for values that occur twice (`&id001`)."""
    assert parse("a: &id001 {x: [1]}\nb: *id001\nc: &s text\nd: *s") == (
        {"a": {"x": [1]}, "b": {"x": [1]}, "c": "text", "d": "text"},
        [],
    )


def test_a_key_that_comes_twice_is_a_problem() -> None:
    """The last one counts, and it is said."""
    assert parse("a: 1\nb: {c: 1, c: 2}\na: 3") == (
        {"a": 3, "b": {"c": 2}},
        ['duplicated mapping key "c"', 'duplicated mapping key "a"'],
    )


def bomb(levels: int) -> str:
    lines = ["l0: &l0 [" + ", ".join(["lol"] * 10) + "]"]
    lines += [f"l{n}: &l{n} [" + ", ".join([f"*l{n - 1}"] * 10) + "]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(12), "too large when its aliases are written out"),
        (
            f"a: &a {'x' * 400_000}\nb: [{', '.join(['*a'] * 10)}]",
            "too large when its aliases are written out",
        ),
        ("a: &a [*a]", 'unidentified alias "a"'),
        ("a: &a {b: *a}", 'unidentified alias "a"'),
        ("a: &a 1\nb: &a [*a]", 'unidentified alias "a"'),
        ("a: *nothing", 'unidentified alias "nothing"'),
        ("? [a]\n: 1", "a key must be text"),
        ("? {a: b}\n: 1", "a key must be text"),
        ("k: &k x\n*k : 1", "a key must be text"),
        ("a: !!python/object/apply:os.system [id]", "unknown tag"),
        ("a: !!python/name:os.system x", "unknown tag"),
        ("a: !!binary aGk=", "unknown tag"),
        ("!custom {a: 1}", "unknown tag"),
        ("a: 1\n---\nb: 1", "expected a single document"),
        ("a: b: c", r"mapping values are not allowed in this context \(1:5\)"),
        ("a: [", "node content"),
        ("\ta: 1", "cannot start any token"),
        ("a: \0", "characters that YAML does not allow"),
        ("a: \x1b", "characters that YAML does not allow"),
        ("a: " + "[" * 100, "nested deeper than 64 levels"),
        ("[" * 500_000, "nest"),
        ("- " * 200_000, "nest"),
        ("#" * (1 << 20) + "#", "longer than"),
    ],
)
def test_hostile_yaml_is_refused_at_once(text: str, message: str) -> None:
    """No object is made, nothing is written out that was not, and none of it takes time."""
    began = time.process_time()
    with pytest.raises(Invalid, match=message):
        parse(text)
    assert time.process_time() - began < 1


def test_lone_surrogates_do_not_get_in() -> None:
    """What cannot be stored as UTF-8 is replaced, raw, or refused, escaped."""
    assert parse("a: '\ud800'") == ({"a": "?"}, [])
    with pytest.raises(Invalid):
        parse('a: "\\ud800"')


keys = st.text("abcdef", min_size=2, max_size=4)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**59), 2**59) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(keys, plain, max_size=4))
def test_json_is_yaml_that_means_itself(data: dict[str, object]) -> None:
    """Whatever JSON a card holds comes out as it went in, written by JSON's writer or by the client's own dumper."""
    assert parse(json.dumps(data, ensure_ascii=False)) == (data, [])
    value, problems = parse(yaml.safe_dump(data, allow_unicode=True, sort_keys=False))
    assert problems == []
    assert json.loads(json.dumps(value)) == value


@given(st.text(max_size=60) | st.text("&*a:[]{}-?!|>'\"#%\n \t,1<.", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """What is read is JSON; what is not is `Invalid`."""
    try:
        value, _ = parse(text)
    except Invalid:
        return
    assert json.loads(json.dumps(value, allow_nan=False)) == value
