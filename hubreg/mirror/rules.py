"""
Which repos come from which upstream, and how. Pure: rules and a name in, the rules that count out.

Rules are looked at in their order. The first that denies a name ends the search: nothing behind it counts. A namespace
that is a user's or an organisation's here is never looked for upstream, whatever the rules say: that is `mirror.sync`'s
to see to, which knows them.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hubreg.errors import Invalid
from hubreg.formats import names
from hubreg.model import RepoType

TTL = 60  # seconds that a name is good for, where a rule says nothing
_LONGEST = 200
_PATTERN = re.compile(r"[a-z0-9._*?-]+(?:/[a-z0-9._*?-]+)?")


class Mode(enum.StrEnum):
    """What happens to a name that a rule is for."""

    MIRROR = "mirror"  # fetched when asked for; names are asked for again when their time is over
    PINNED = "pinned"  # fetched when asked for; a name stays at the commit where it was first seen
    OFFLINE = "offline"  # served as far as it is here; upstream is never asked
    DENY = "deny"  # refused


@dataclass(frozen=True, slots=True)
class Rule:
    """
    `pattern` is of `namespace/name` in lower case, `*` and `?` standing for parts of one segment; one without a slash
    is of the namespace, or of a name that has none. `ttl`: seconds that what a revision's name means is not asked for
    again. `foreign_tokens`: whether a caller may send the upstream's own token instead of one of ours.
    """

    pattern: str
    mode: Mode = Mode.MIRROR
    upstream_id: int | None = None
    type: RepoType | None = None
    ttl: int = TTL
    foreign_tokens: bool = False
    id: int = 0

    @property
    def asks(self) -> bool:
        """Whether upstream may be asked at all."""
        return self.mode in (Mode.MIRROR, Mode.PINNED)

    def matches(self, type_: RepoType, name: str) -> bool:
        """Whether it is for the repo of that name, in any case."""
        if self.type is not None and self.type is not type_:
            return False
        asked, wanted = names.key(name).split("/"), self.pattern.split("/")
        if len(wanted) == 1:
            asked = asked[:1]
        return len(asked) == len(wanted) and all(map(_matches, wanted, asked))


def _matches(pattern: str, text: str) -> bool:
    """Glob, by hand: a regular expression made of many stars takes for ever on a name that nearly matches."""
    at, place, star, retry = 0, 0, -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, retry = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            at, place = at + 1, place + 1
        elif star >= 0:
            retry += 1
            at, place = retry, star + 1
        else:
            return False
    return pattern[place:].strip("*") == ""


def check_pattern(pattern: str) -> str:
    """The pattern in the form that rules keep. Raises `Invalid`."""
    kept = names.key(pattern)
    if len(kept) > _LONGEST or not _PATTERN.fullmatch(kept):
        raise Invalid(
            f"{pattern[:_LONGEST]!r} is no pattern of repo ids.",
            hint="It is namespace/name or a namespace, with * and ? for parts of either: `meta-llama/*`, `*`.",
        )
    return kept


def candidates(rules: Iterable[Rule], type_: RepoType, name: str) -> Sequence[Rule]:
    """
    The rules under which a repo may be looked for, in order, one for each upstream. One that denies it stands at the
    end of the list, if it was reached.
    """
    found: list[Rule] = []
    for rule in rules:
        if not rule.matches(type_, name):
            continue
        if rule.mode is Mode.DENY:
            return [*found, rule]
        if all(rule.upstream_id != other.upstream_id for other in found):
            found.append(rule)
    return found


def rule_for(rules: Iterable[Rule], type_: RepoType, name: str, upstream_id: int) -> Rule | None:
    """
    The rule that counts for a repo which is bound to an upstream already: the first for it, or one that denies it and
    stands before that. None where the rules have nothing for it any more.
    """
    for rule in candidates(rules, type_, name):
        if rule.mode is Mode.DENY or rule.upstream_id == upstream_id:
            return rule
    return None
