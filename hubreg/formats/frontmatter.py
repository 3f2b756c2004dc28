"""
The YAML at the top of a README, as plain values that JSON can carry.

Built straight from the parser's events and never through a constructor, so no tag makes an object and nothing
recurses. Scalars are read by YAML 1.2's core rules, as the Hub's own parser reads them: `no` and `2024-01-01`
stay text. What aliases repeat is counted as if it were written out, and size, depth and that count are
bounded. The limits: merge keys (`<<`) are ordinary keys; keys are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from hubreg.errors import Invalid

_MAX_TEXT = 1 << 20  # characters of YAML; dataset cards with hundreds of configurations have half of that
_MAX_WEIGHT = 2 << 20  # characters and nodes with every alias written out
_MAX_DEPTH = 64

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,9})?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_CORE = "tag:yaml.org,2002:"
_KNOWN_TAGS = frozenset(
    ["!", *(_CORE + name for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq"))]
)


_BEGIN = re.compile(r"\ufeff?\s*---[ \t]*(?:\r\n|\r|\n)")
_END = re.compile(r"(?:\r\n|\r|\n)---[ \t]*(?:\r\n|\r|\n|\Z)")


def split(text: str) -> tuple[str | None, str]:
    """The YAML between the first line `---` and the next, None if there is none, and what follows it."""
    begin = _BEGIN.match(text)
    # The line end before the closing line may be the opening line's: the YAML is empty then.
    end = _END.search(text, begin.end() - 1) if begin else None
    if begin is None or end is None:
        return None, text
    return text[begin.end() : end.start()], text[end.end() :]


def parse(text: str) -> tuple[object, list[str]]:
    """
    The value of one YAML document and what is questionable about it: keys that come twice, the last of which
    counts.

    Raises `Invalid`, with the place as (line:column), for what is no YAML and for what exceeds a bound.
    """
    if len(text) > _MAX_TEXT:
        raise Invalid(f"the metadata is longer than {_MAX_TEXT} characters")
    try:
        return _build(yaml.parse(text.encode("utf-8", "replace"), Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" ({mark.line + 1}:{mark.column + 1})" if mark else ""
        raise Invalid(f"{error.problem or error.context or 'this is not YAML'}{place}") from error
    except yaml.YAMLError as error:
        raise Invalid("this is not YAML: it has characters that YAML does not allow") from error


@dataclass(slots=True)
class _Open:
    """A mapping or a list that has not ended yet; `before` is the weight of all that came before it."""

    value: dict[str, object] | list[object]
    anchor: str | None
    before: int
    key: str | None = None


@dataclass(slots=True)
class _Document:
    weight: int = 0
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[object, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    root: object = None

    def add(self, value: object, weight: int) -> None:
        """Put a finished value where the document has come to."""
        self.weigh(weight)
        if not self.stack:
            self.root = value
            return
        top = self.stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is not None:
            if top.key in top.value:
                self.problems.append(f'duplicated mapping key "{top.key}"')
            top.value[top.key] = value
            top.key = None
        else:
            raise Invalid("a key must be text")

    def weigh(self, weight: int) -> None:
        self.weight += weight
        if self.weight > _MAX_WEIGHT:
            raise Invalid("the metadata is too large when its aliases are written out")

    def wants_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None


def _build(events: Iterator[yaml.Event]) -> tuple[object, list[str]]:
    document, documents = _Document(), 0
    for event in events:
        match event:
            case yaml.ScalarEvent():
                _scalar_event(document, event)
            case yaml.AliasEvent():
                if event.anchor not in document.anchors:
                    raise Invalid(f'unidentified alias "{event.anchor}"')
                document.add(*document.anchors[event.anchor])
            case yaml.CollectionStartEvent():
                _open(document, event)
            case yaml.CollectionEndEvent():
                _close(document)
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    raise Invalid("expected a single document")
    return document.root, document.problems


def _scalar_event(document: _Document, event: yaml.ScalarEvent) -> None:
    _check_tag(event.tag)
    if document.wants_key():
        document.stack[-1].key = event.value
        document.weigh(len(event.value) + 1)
        return
    plain = event.implicit[0] if event.tag is None else event.tag not in ("!", f"{_CORE}str")
    value = _scalar(event.value) if plain else event.value
    if event.anchor:
        document.anchors[event.anchor] = value, len(event.value) + 1
    document.add(value, len(event.value) + 1)


def _open(document: _Document, event: yaml.CollectionStartEvent) -> None:
    _check_tag(event.tag)
    if document.wants_key():
        raise Invalid("a key must be text")
    if len(document.stack) >= _MAX_DEPTH:
        raise Invalid(f"the metadata is nested deeper than {_MAX_DEPTH} levels")
    if event.anchor:
        document.anchors.pop(event.anchor, None)  # what is not finished cannot be referred to
    value: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
    document.stack.append(_Open(value, event.anchor, document.weight))


def _close(document: _Document) -> None:
    done = document.stack.pop()
    if done.anchor:
        document.anchors[done.anchor] = done.value, document.weight - done.before + 1
    document.add(done.value, 1)


def _check_tag(tag: str | None) -> None:
    if tag is not None and tag not in _KNOWN_TAGS:
        raise Invalid(f"unknown tag !<{tag}>")


def _scalar(text: str) -> object:
    """
    A plain scalar by the core schema. Long integers lose digits, as in JavaScript; `.nan` and `.inf` are
    null.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else None
    return None if _NOT_FINITE.fullmatch(text) else text
