"""
How the commits of a repo descend from each other, and with that what a fetch needs: which commits to send.

Values and set work only, for a thread: a graph of 100 000 commits takes some 100 ms to walk.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hubreg.errors import Damaged, Invalid
from hubreg.formats.gitwire import Deepen, Shallow
from hubreg.model import CommitId, Oid


class Node(NamedTuple):
    """A commit: what it holds, what it came from, and when it was made (seconds since 1970, by its committer)."""

    tree: Oid
    parents: tuple[CommitId, ...]
    seconds: int


_HEAD = re.compile(
    rb"tree ([0-9a-f]{40})\n((?:parent [0-9a-f]{40}\n)*)author [^\n]*\ncommitter [^\n]*> (-?[0-9]+) "
)


def parse_node(data: bytes) -> Node:
    """The part of a commit that the graph is made of. Raises `Damaged`."""
    found = _HEAD.match(data)
    if found is None:
        raise Damaged("These bytes are no git commit.")
    parents = tuple(CommitId(line[7:]) for line in found[2].decode().splitlines())
    return Node(Oid(found[1].decode()), parents, int(found[3]))


@dataclass(frozen=True, slots=True)
class Sending:
    """
    The answer to a fetch: the commits to send, newest first, and their trees; the trees of the client's own commits
    that they build on, of which nothing needs to be sent again; and where the client's history is to end.
    """

    commits: list[CommitId]
    roots: list[Oid]
    held: list[Oid]
    shallow: Shallow


class Ancestry:
    """The commits of one repo. `nodes` has every parent of every commit in it."""

    def __init__(self, nodes: Mapping[CommitId, Node]) -> None:
        self._nodes = nodes

    @classmethod
    def parse(cls, commits: Iterable[tuple[CommitId, bytes]]) -> Ancestry:
        """From commits as git has them. Raises `Damaged`."""
        return cls({id_: parse_node(data) for id_, data in commits})

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, commit: object) -> bool:
        return commit in self._nodes

    def trees(self) -> list[Oid]:
        """Of every commit, newest first."""
        nodes = sorted(self._nodes.values(), key=lambda node: node.seconds, reverse=True)
        return [node.tree for node in nodes]

    def reachable(
        self, tips: Iterable[CommitId], without: Collection[CommitId] = (), *, since: int | None = None
    ) -> set[CommitId]:
        """Everything that the tips lead to, themselves included; the parents of those in `without` do not count."""
        found: set[CommitId] = set()
        waiting = list(tips)
        while waiting:
            commit = waiting.pop()
            if commit in found or (since is not None and self._nodes[commit].seconds < since):
                continue
            found.add(commit)
            if commit not in without:
                waiting += self._nodes[commit].parents
        return found

    def meets(self, wants: Collection[CommitId], common: Iterable[CommitId]) -> bool:
        """Whether each of the wanted has an ancestor among those in common: then more haves would tell little."""
        children: dict[CommitId, list[CommitId]] = {}
        for commit in self.reachable(wants):
            for parent in self._nodes[commit].parents:
                children.setdefault(parent, []).append(commit)
        met: set[CommitId] = set()
        waiting = list(common)
        while waiting:
            commit = waiting.pop()
            if commit not in met:
                met.add(commit)
                waiting += children.get(commit, ())
        return met.issuperset(wants)

    def sending(
        self,
        wants: Collection[CommitId],
        haves: Iterable[CommitId],
        shallow: Iterable[CommitId],
        deepen: Deepen,
        excluding: Collection[CommitId] = (),
    ) -> Sending:
        """
        What to send to whoever has `haves`, of whose commits those in `shallow` have no parents; `excluding` are the
        commits that `deepen` names as refs. Raises `Invalid` where `deepen` leaves nothing.
        """
        ends = frozenset(commit for commit in shallow if commit in self._nodes)
        moved = self._deepened(wants, ends, deepen, excluding) if deepen else Shallow()
        cut = (ends - set(moved.unshallow)) | set(moved.shallow)
        held = self.reachable(haves, ends)
        sent = self.reachable(wants, cut) - held
        bases = {p for commit in sent if commit not in cut for p in self._nodes[commit].parents} & held
        # Whoever gets more history has the files of the commits that it ended with.
        bases |= set(moved.unshallow) & held
        newest_first = sorted(sent, key=lambda commit: self._nodes[commit].seconds, reverse=True)
        return Sending(newest_first, self._roots(newest_first), self._roots(sorted(bases)), moved)

    def _roots(self, commits: Iterable[CommitId]) -> list[Oid]:
        return [self._nodes[commit].tree for commit in commits]

    def _deepened(
        self,
        wants: Collection[CommitId],
        ends: Collection[CommitId],
        deepen: Deepen,
        excluding: Collection[CommitId],
    ) -> Shallow:
        """Where the client's history ends after a fetch: at commits that it gets and whose parents it does not."""
        if deepen.depth is None:
            kept = self.reachable(wants, since=deepen.since) - self.reachable(excluding)
            if not kept:
                raise Invalid("no commits selected for shallow requests")
        elif deepen.relative:
            reached = self.reachable(wants)
            kept = self._levels([end for end in ends if end in reached], deepen.depth + 1)
            kept |= self.reachable(wants, ends)
        else:
            kept = self._levels(wants, deepen.depth)
        edge = {commit for commit in kept if not kept.issuperset(self._nodes[commit].parents)}
        edge |= set(wants) - kept  # older than what is asked for: alone
        lifted = [end for end in ends if end in kept and end not in edge]
        return Shallow(tuple(sorted(edge - set(ends))), tuple(sorted(lifted)))

    def _levels(self, tips: Iterable[CommitId], depth: int) -> set[CommitId]:
        """The tips and their ancestors, so many generations in all."""
        found: set[CommitId] = set()
        level = set(tips)
        while level and depth > 0:
            found |= level
            level = {parent for commit in level for parent in self._nodes[commit].parents} - found
            depth -= 1
        return found
