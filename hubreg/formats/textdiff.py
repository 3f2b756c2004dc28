"""
Git's unified diff of one file's two versions, as text: what `git apply` takes and `git diff` prints.

The shortest diff costs (lines x differences) steps, which a hostile pair of files makes minutes. So the
search has a budget, for one file and for all that are compared together (`Budget`): past it, what lies
between the first and the last difference is replaced as a whole, a diff as true as any. (`difflib` has no
such bound, and is cubic at worst.) Content that is no text (git's rule: a NUL in the first 8 000 bytes; ours:
not UTF-8) or that the caller did not load because it is too large (`MAX_SIZE`) is said to differ and not
shown, as git does.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hubreg.model import Oid

MAX_SIZE = 1_000_000  # bytes of a version worth comparing line by line
_CONTEXT = 3  # lines around a difference
_BUDGET = 500_000  # steps of the search in one file: about a fifth of a second, and 30 MB
_TOGETHER = 2_000_000  # steps in all files of one comparison
_NULL = "0" * 40
_TO_QUOTE = re.compile(r'[\x00-\x1f"\\\x7f]')
_ESCAPES = dict(zip('\a\b\t\n\v\f\r"\\', 'abtnvfr"\\', strict=True))


@dataclass(frozen=True, slots=True)
class Version:
    """A file on one side. `content` is None where it is not to be compared; `mode` as in a tree entry."""

    oid: Oid
    mode: int
    content: bytes | None


class Budget:
    """The steps that are left for the files of one comparison."""

    def __init__(self, steps: int = _TOGETHER) -> None:
        self.steps = steps


def unified(path: str, old: Version | None, new: Version | None, budget: Budget | None = None) -> str:
    """
    The diff that makes `new` of `old`; None is a file that is not there. Empty when they are the same. Files that are
    compared together share a `budget`.
    """
    budget = budget or Budget()
    if old == new:
        return ""
    if old and new and stat.S_IFMT(old.mode) != stat.S_IFMT(new.mode):
        # A file that becomes a link is no change of lines: git writes a deletion and a creation.
        return unified(path, old, None, budget) + unified(path, None, new, budget)
    before, after = _quoted("a/" + path), _quoted("b/" + path)
    head = f"diff --git {before} {after}\n" + _modes(old, new)
    if old and new and old.oid == new.oid:
        return head
    return head + _body(before if old else "/dev/null", after if new else "/dev/null", old, new, budget)


def _modes(old: Version | None, new: Version | None) -> str:
    same = ""
    if old and new:
        lines = f"old mode {old.mode:o}\nnew mode {new.mode:o}\n" if old.mode != new.mode else ""
        same = f" {old.mode:o}" if old.mode == new.mode else ""
    else:
        lines = f"deleted file mode {old.mode:o}\n" if old else ""
        lines += f"new file mode {new.mode:o}\n" if new else ""
    oids = old.oid if old else _NULL, new.oid if new else _NULL
    return lines + (f"index {oids[0]}..{oids[1]}{same}\n" if oids[0] != oids[1] else "")


def _body(before: str, after: str, old: Version | None, new: Version | None, budget: Budget) -> str:
    was, now = _lines(old), _lines(new)
    if was is None or now is None:
        return f"Binary files {before} and {after} differ\n"
    hunks = "".join(_hunk(was, now, blocks) for blocks in _grouped(_differences(was, now, budget)))
    # A name with a space ends in a tab, so that `patch` knows where it ends.
    names = [name + "\t" * (" " in name) for name in (before, after)]
    return f"--- {names[0]}\n+++ {names[1]}\n{hunks}" if hunks else ""


def _lines(version: Version | None) -> list[str] | None:
    """The lines with their ends, which are newlines and nothing else; None for what is no text."""
    if version is None:
        return []
    if version.content is None or b"\0" in version.content[:8000]:
        return None
    try:
        lines = version.content.decode().split("\n")
    except UnicodeDecodeError:
        return None
    last = lines.pop()
    return [line + "\n" for line in lines] + ([last] if last else [])


def _quoted(name: str) -> str:
    """As git writes names (with core.quotePath off): in quotes, where a character would break the line."""
    if not _TO_QUOTE.search(name):
        return name
    escaped = _TO_QUOTE.sub(lambda found: "\\" + (_ESCAPES.get(found[0]) or f"{ord(found[0]):03o}"), name)
    return f'"{escaped}"'


# --- differences: (start, end) in the old lines and (start, end) in the new ones ---

_Block = tuple[int, int, int, int]


def _hunk(was: Sequence[str], now: Sequence[str], blocks: Sequence[_Block]) -> str:
    start = max(blocks[0][0] - _CONTEXT, 0)
    end = min(blocks[-1][1] + _CONTEXT, len(was))
    shift = blocks[0][2] - blocks[0][0], blocks[-1][3] - blocks[-1][1]
    lines = [f"@@ -{_range(start, end)} +{_range(start + shift[0], end + shift[1])} @@\n"]
    at = start
    for old_start, old_end, new_start, new_end in blocks:
        lines += [_line(" ", line) for line in was[at:old_start]]
        lines += [_line("-", line) for line in was[old_start:old_end]]
        lines += [_line("+", line) for line in now[new_start:new_end]]
        at = old_end
    lines += [_line(" ", line) for line in was[at:end]]
    return "".join(lines)


def _line(sign: str, line: str) -> str:
    return sign + line if line.endswith("\n") else f"{sign}{line}\n\\ No newline at end of file\n"


def _range(start: int, end: int) -> str:
    """
    A range in a hunk's head. Lines count from one; an empty range names the line before it; a length of one
    is left out.
    """
    if end - start == 1:
        return str(start + 1)
    return f"{start + 1 if end > start else start},{end - start}"


def _grouped(blocks: Sequence[_Block]) -> Iterator[list[_Block]]:
    group: list[_Block] = []
    for block in blocks:
        if group and block[0] - group[-1][1] > 2 * _CONTEXT:
            yield group
            group = []
        group.append(block)
    if group:
        yield group


def _differences(was: Sequence[str], now: Sequence[str], budget: Budget) -> list[_Block]:
    shorter = min(len(was), len(now))
    head = next((at for at in range(shorter) if was[at] != now[at]), shorter)
    tail = next((at for at in range(shorter - head) if was[-1 - at] != now[-1 - at]), shorter - head)
    was, now = was[head : len(was) - tail], now[head : len(now) - tail]
    if not was and not now:
        return []
    blocks = _shortest(was, now, budget) if was and now else None
    return [(head + a, head + b, head + c, head + d) for a, b, c, d in blocks or [(0, len(was), 0, len(now))]]


def _shortest(was: Sequence[str], now: Sequence[str], budget: Budget) -> list[_Block] | None:
    """
    The shortest edit script (E. Myers, An O(ND) Difference Algorithm, 1986); None when the budget does not
    do.

    `reach[k]` is how far in `was` one gets on diagonal k (place in `was` minus place in `now`) with one edit
    less; `rounds` keeps it for each number of edits, to walk back along.
    """
    reach, rounds, left = {1: 0}, list[dict[int, int]](), min(_BUDGET, budget.steps)
    budget.steps -= left
    for edits in range(len(was) + len(now) + 1):
        rounds.append(reach)
        reached: dict[int, int] = {}
        for k in range(-edits, edits + 1, 2):
            start = x = reach[k + 1] if _inserts(reach, k, edits) else reach[k - 1] + 1
            while x < len(was) and x - k < len(now) and was[x] == now[x - k]:
                x += 1
            if x >= len(was) and x - k >= len(now):
                budget.steps += left
                return _walk_back(rounds, k)
            reached[k] = x
            left -= 1 + x - start
            if left < 0:
                return None
        reach = reached
    return None


def _inserts(reach: dict[int, int], k: int, edits: int) -> bool:
    """Whether one gets furthest on diagonal `k` by an insertion, from k + 1, or a deletion, from k - 1."""
    return k == -edits or (k != edits and reach[k - 1] < reach[k + 1])


def _walk_back(rounds: Sequence[dict[int, int]], k: int) -> list[_Block]:
    blocks: list[_Block] = []
    for edits in range(len(rounds) - 1, 0, -1):
        reach = rounds[edits]
        if _inserts(reach, k, edits):
            k += 1
            x, y = reach[k], reach[k] - k
            block = (x, x, y, y + 1)
        else:
            k -= 1
            x, y = reach[k], reach[k] - k
            block = (x, x + 1, y, y)
        if blocks and block[1] == blocks[-1][0] and block[3] == blocks[-1][2]:
            # Edits with no common line between them are one difference.
            following = blocks.pop()
            block = (block[0], following[1], block[2], following[3])
        blocks.append(block)
    return blocks[::-1]
