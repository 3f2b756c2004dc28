"""
Git over HTTP, the reading half: which refs there are, and packs of what a client lacks (HUB 8.5).

Only what some ref of this very repo leads to is sent, whatever else is known here: objects are kept once for all
repos, and asking by an oid that one has heard of must not open another's. `refs/pr/N` is told like any ref; clients
fetch it when asked to by name. What hubreg cannot do is not among the capabilities in `formats.gitwire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from hubreg.errors import HubregError, Invalid, NotFound, Unsupported
from hubreg.formats import gitwire, pktline
from hubreg.formats.gitwire import Fetch, LsRefs, Ref
from hubreg.formats.pktline import Band, Mark
from hubreg.hub.ancestry import Ancestry, Sending
from hubreg.hub.packing import Packing
from hubreg.hub.snapshots import MAIN
from hubreg.identity.access import Access
from hubreg.model import Action, Actor, CommitId, Oid
from hubreg.store import objects, repos
from hubreg.store.db import Database, Reader
from hubreg.store.fresh import Bounded
from hubreg.store.repos import Repo
from hubreg.store.threads import run_in

_COMMITS = 50_000  # of ancestries that are held, all together: some 20 MB


async def refs_of(reader: Reader, repo: Repo) -> list[Ref]:
    """The refs of a repo by name."""
    tags = await repos.annotated_tags(reader, repo.id)
    return [Ref(name, commit, tags.get(name)) for name, commit in await repos.refs(reader, repo.id)]


def refuse_mirrored(repo: Repo) -> None:
    """Raise for a mirrored repo: upstream's API tells its files, not the commits that a clone is made of."""
    if repo.upstream_id is not None:
        raise Unsupported(
            f"{repo.ref.full} is mirrored and cannot be cloned: use `hf download {repo.ref.full}`, or clone it"
            " from upstream."
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a fetch is answered: words, and behind them a pack of `commits` and `tags`, where `sending` is not None."""

    words: bytes
    sending: Sending | None = None
    tags: Sequence[Oid] = ()


@dataclass(slots=True, weakref_slot=True)
class _Reading:
    """Of one repo's history by several fetches: one does it, those that wait take what came of it, however large."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    last: Ancestry | None = None


@dataclass(frozen=True, slots=True)
class Git:
    db: Database
    access: Access
    packing: Packing
    _known: Bounded[int, Ancestry] = field(default_factory=lambda: Bounded(_COMMITS, len), init=False)
    _readings: WeakValueDictionary[int, _Reading] = field(default_factory=WeakValueDictionary, init=False)

    # refs

    async def advertise(self, actor: Actor, repo: Repo, service: str) -> bytes:
        """
        Refs and capabilities, as version 0 begins. Fetching takes the right to read, pushing the right to propose:
        which ref may be moved is said when it is.
        """
        action = Action.PROPOSE if service == gitwire.RECEIVE else Action.READ
        self.access.require(actor, action, repo)
        refuse_mirrored(repo)
        return gitwire.render_advertisement(service, await refs_of(self.db, repo), MAIN)

    async def list_refs(self, actor: Actor, repo: Repo, asked: LsRefs) -> bytes:
        """The same in version 2, where capabilities are no repo's business."""
        self.access.require(actor, Action.READ, repo)
        refuse_mirrored(repo)
        return await run_in(None, gitwire.render_refs, asked, await refs_of(self.db, repo), MAIN)

    # objects

    async def fetch(self, actor: Actor, repo: Repo, asked: Fetch) -> AsyncIterator[bytes]:
        """
        The answer, as fast as it is taken. What cannot be had is said in git's own way, as an answer: clients show
        nothing of an HTTP error here.
        """
        self.access.require(actor, Action.READ, repo)
        refuse_mirrored(repo)
        try:
            plan = await self._plan(repo, asked)
        except (Invalid, NotFound) as error:
            return self._answer(_Plan(gitwire.render_refusal(error.message)), bands=False)
        return self._answer(plan, bands=asked.bands)

    async def _plan(self, repo: Repo, asked: Fetch) -> _Plan:
        refs = await refs_of(self.db, repo)
        ancestry = await self._ancestry(repo, refs)
        tags = {ref.tag: ref.commit for ref in refs if ref.tag}
        wants = {tags.get(want, CommitId(want)) for want in asked.wants}
        if not wants.issubset({ref.commit for ref in refs}):
            await run_in(None, _require_reachable, ancestry, wants, refs)
        common = [have for have in asked.haves if have in ancestry]
        excluding = _named(refs, asked.deepen.excluding)
        ready = await run_in(None, ancestry.meets, wants, common) if common and not asked.done else False
        sending = await run_in(None, ancestry.sending, wants, common, asked.shallow, asked.deepen, excluding)
        words, follows = gitwire.render_negotiation(asked, common, ready=ready, shallow=sending.shallow)
        if not follows:
            return _Plan(words)
        wanted_tags = set(tags) & set(asked.wants)
        if asked.include_tags:
            sent = set(sending.commits)
            wanted_tags |= {tag for tag, commit in tags.items() if commit in sent}
        return _Plan(words, sending, sorted(wanted_tags))

    async def _ancestry(self, repo: Repo, refs: Sequence[Ref]) -> Ancestry:
        # History does not change: one that has every tip of today is as good as a new one.
        reading = self._readings.setdefault(repo.id, _Reading())
        async with reading.lock:
            known = reading.last or self._known.get(repo.id)
            if known is None or not all(ref.commit in known for ref in refs):
                rows = await objects.every_commit(self.db, repo.id)
                known = await run_in(None, Ancestry.parse, rows)
                if len(known) <= _COMMITS:
                    self._known.put(repo.id, known)
            reading.last = known
        return known

    async def _answer(self, plan: _Plan, *, bands: bool) -> AsyncIterator[bytes]:
        yield plan.words
        if plan.sending is None:
            return
        try:
            async for piece in self._pack(plan.sending, plan.tags):
                yield b"".join(pktline.side_band(Band.PACK, piece)) if bands else piece
        except HubregError as error:
            if bands:
                yield b"".join(pktline.side_band(Band.FATAL, f"hubreg: {error.message}\n".encode()))
            raise
        if bands:
            yield Mark.FLUSH.value

    async def _pack(self, sending: Sending, tags: Sequence[Oid]) -> AsyncIterator[bytes]:
        listed = await self.packing.collect(sending.commits, tags, sending.roots, sending.held)
        async for piece in self.packing.encode(listed):
            yield piece


def _require_reachable(ancestry: Ancestry, wants: Collection[CommitId], refs: Sequence[Ref]) -> None:
    reachable = ancestry.reachable([ref.commit for ref in refs])
    for want in wants:
        if want not in reachable:
            raise NotFound(f"upload-pack: not our ref {want}")


def _named(refs: Sequence[Ref], names: Sequence[str]) -> list[CommitId]:
    """The commits of refs that a client named, in full or as a branch or tag."""
    by_name = {ref.name: ref.commit for ref in refs}
    found = []
    for name in names:
        full = next((f for f in (name, f"refs/heads/{name}", f"refs/tags/{name}") if f in by_name), None)
        if full is None:
            raise NotFound(f"git upload-pack: deepen-not is not a ref: {name[:200]}")
        found.append(by_name[full])
    return found
