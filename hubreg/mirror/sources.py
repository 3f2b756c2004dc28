"""The upstreams and rules of this server, as they are by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hubreg.identity.sealing import Sealing
from hubreg.mirror import rules
from hubreg.mirror.policy import Policy, Subject, Verdict
from hubreg.mirror.rules import Mode, Rule
from hubreg.mirror.upstream import Calls, UpstreamHub
from hubreg.model import RepoType
from hubreg.store import mirror
from hubreg.store.db import Database
from hubreg.store.fresh import Fresh
from hubreg.store.mirror import PolicyRow, RuleRow, Upstream
from hubreg.store.repos import Repo


def purpose(upstream: str) -> str:
    """What an upstream's own token is sealed for."""
    return f"upstream {upstream}"


def rule(row: RuleRow) -> Rule:
    return Rule(
        row.pattern,
        Mode(row.mode),
        row.upstream_id,
        RepoType(row.type) if row.type else None,
        row.ttl,
        bool(row.foreign_tokens),
        row.id,
    )


def policy(row: PolicyRow) -> Policy:
    return Policy(row.pattern, Subject(row.subject), Verdict(row.verdict), tuple(row.values.split()), row.id)


@dataclass(frozen=True, slots=True)
class Known:
    """Active upstreams by id, the rules in their order, and the policies."""

    upstreams: dict[int, Upstream]
    rules: tuple[Rule, ...]
    policies: tuple[Policy, ...] = ()


_OFF = Known({}, ())


class Sources:
    def __init__(self, db: Database, sealing: Sealing, calls: Calls) -> None:
        self._db, self._sealing, self._calls = db, sealing, calls
        self._known: Fresh[str, Known] = Fresh(db)

    async def known(self) -> Known:
        known = self._known.get("")
        if known is None:
            known = await self._read()
            self._known.put("", known)
        return known

    async def _read(self) -> Known:
        rows = await mirror.upstreams(self._db)
        if not rows:
            return _OFF
        active = {
            upstream.id: replace(upstream, token=self._sealing.open(sealed, purpose(upstream.name)) or "")
            for upstream, sealed in rows
            if upstream.active
        }
        policies = tuple(policy(row) for row in await mirror.policies(self._db))
        return Known(active, tuple(rule(row) for row in await mirror.rules(self._db)), policies)

    async def candidates(self, type_: RepoType, name: str) -> Sequence[Rule]:
        """Where to look for a repo that is not here: in this order, up to a rule that denies it."""
        known = await self.known()
        found = rules.candidates(known.rules, type_, name)
        return [each for each in found if each.mode is Mode.DENY or each.upstream_id in known.upstreams]

    async def rule_of(self, repo: Repo) -> Rule | None:
        """
        The rule that a mirrored repo is under. None where there is none any more: what is here is served, and upstream
        is not asked.
        """
        known = await self.known()
        if repo.upstream_id is None:
            return None
        found = rules.rule_for(known.rules, repo.ref.type, repo.ref.full, repo.upstream_id)
        if found is not None and found.mode is not Mode.DENY and found.upstream_id not in known.upstreams:
            return None
        return found

    async def policies(self, repo: Repo) -> Sequence[Policy]:
        """Those for a mirrored repo, by the name that it has here."""
        return [each for each in (await self.known()).policies if each.is_for(repo.ref.type, repo.ref.full)]

    async def hub(self, upstream_id: int | None) -> UpstreamHub | None:
        """An active upstream, to be asked; None where it is not."""
        upstream = (await self.known()).upstreams.get(upstream_id or 0)
        return UpstreamHub(self._calls, upstream) if upstream is not None else None
