"""
Git's patterns for paths, as .gitattributes and .gitignore use them: `*`, `?`, `[a-z]`, `**`, `\\`.

Patterns come from whoever may write a repo or send a request, so matching takes time linear in the path for
each star, never exponential: every star takes the first place where what follows it fits, and does not go
back (what follows a later star could not fit there either). As in C git, a `?` or a class is one byte of
UTF-8. The limit: a class that has a slash in it matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_TEXT_THEN_FOLDERS = re.compile(r"([^*?\[\\]+)(?=\*\*+(?:/|\Z))")
_NEVER = "(?!)"
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t-\r ",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def literal(pattern: str) -> str | None:
    """The one text that a pattern without wildcards matches, else None."""
    if any(c in _ESCAPED.sub("", pattern) for c in "*?[\\"):
        return None
    return _ESCAPED.sub(r"\1", pattern)


def escape(text: str) -> str:
    """The pattern that matches exactly this text."""
    return re.sub(r"([*?\[\\])", r"\\\1", text)


def compile_pattern(pattern: str) -> re.Pattern[bytes]:
    """
    The regular expression, for `fullmatch`, of a pattern against a whole path in UTF-8. A broken one never
    matches.

    `**` means any folders only as a whole segment; elsewhere it is a plain star.
    """
    # From here on a character is a byte, and an escaped slash a slash.
    pattern = _ESCAPED.sub(
        lambda match: "/" if match[1] == "/" else match[0], encode(pattern).decode("latin-1")
    )
    # C git cuts off the text before the first wildcard, so that `**` right after it looks like a whole segment.
    begin = _TEXT_THEN_FOLDERS.match(pattern)
    text, rest = (begin[1], pattern[begin.end() :]) if begin else ("", pattern)
    return re.compile((re.escape(text) + _segments(rest)).encode("latin-1"), re.DOTALL)


def _segments(pattern: str) -> str:
    # Segments between two `**` are found together, at their first place: one atomic group each.
    groups: list[list[str]] = [[]]
    for segment in pattern.split("/"):
        if re.fullmatch(r"\*\*+", segment):
            groups.append([])
        else:
            groups[-1].append(_segment(segment))
    return _join(groups)


def encode(path: str) -> bytes:
    """A path as patterns match it. Lone surrogates, which no stored path has, do no harm."""
    return path.encode("utf-8", "surrogatepass")


def _join(groups: list[list[str]]) -> str:
    if len(groups) == 1:
        return "/".join(groups[0])
    first, *middle, last = groups
    found = "".join(f"{segment}/" for segment in first)
    for group in middle:
        if group:
            found += "(?>(?:[^/]*/)*?" + "".join(f"{segment}/" for segment in group) + ")"
    return found + ("(?:[^/]*/)*" + "/".join(last) if last else ".*")


def _segment(segment: str) -> str:
    """One segment: the text between two stars is atomic with the star before it, the last one may go back."""
    chunks: list[str] = [""]
    for token in _tokens(segment):
        if token == "*":  # noqa: S105
            chunks.append("")
        else:
            chunks[-1] += token
    first, *middle, last = chunks if len(chunks) > 1 else [chunks[0], ""]
    if len(chunks) == 1:
        return first
    return first + "".join(f"(?>[^/]*?{chunk})" for chunk in middle if chunk) + f"[^/]*{last}"


def _tokens(segment: str) -> Iterator[str]:
    """Regular expressions of single characters, and `*`."""
    at = 0
    while at < len(segment):
        c = segment[at]
        if c == "[":
            token, at = _bracket(segment, at + 1)
            yield token
            continue
        if c == "\\":
            at += 1
            yield re.escape(segment[at]) if at < len(segment) else _NEVER
        elif c == "?":
            yield "[^/]"
        else:
            yield "*" if c == "*" else re.escape(c)
        at += 1


_MEMBER = re.compile(r"\[:([a-z]*):\]|(\\?.)(?:-(?!\])(\\?.))?", re.DOTALL)


def _bracket(text: str, at: int) -> tuple[str, int]:
    """The class that begins after `[` at `at`, and where it ends. One that never ends matches nothing."""
    negated = text[at : at + 1] in ("!", "^")
    at += negated
    members, first = "", True
    while at < len(text) and (first or text[at] != "]"):
        first = False
        match = _MEMBER.match(text, at)
        if match is None:  # pragma: no cover - `.` matches any character
            break
        at = match.end()
        if match[1] is not None:
            if match[1] not in _POSIX:
                return _NEVER, len(text)
            members += _POSIX[match[1]]
        else:
            low, high = match[2][-1], (match[3] or match[2])[-1]
            members += re.escape(low)  # of a range that runs backwards, only its first counts
            if low < high:
                members += f"-{re.escape(high)}"
    if at >= len(text):
        return _NEVER, len(text)
    return f"(?!/)[{'^' if negated else ''}{members}]", at + 1
