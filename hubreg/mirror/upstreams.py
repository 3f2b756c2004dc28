"""
What an administrator decides about the mirror: which upstreams there are, which repos come from them and how, who may
read what is private or gated there, which names stay where they are. The command line calls it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from hubreg.errors import AccountNotFound, Invalid, NotFound, RepoNotFound
from hubreg.formats import names
from hubreg.identity.sealing import Sealing
from hubreg.mirror import policy, rights, sources
from hubreg.mirror.policy import Policy, Subject, Verdict
from hubreg.mirror.rules import TTL, Mode, Rule, check_pattern
from hubreg.model import Actor, CommitId, RepoType
from hubreg.store import accounts, log, mirror, repos
from hubreg.store.db import Database, Reader
from hubreg.store.mirror import PolicyRow, RuleRow, Totals, Upstream
from hubreg.store.repos import Repo

CONFIGURED = "hub"  # what the setting `upstream` is called
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")
_HOST = re.compile(r"\.?[a-z0-9-]+(?:\.[a-z0-9-]+)*")


@dataclass(frozen=True, slots=True)
class Listed:
    """An upstream, whether it has a token that can be read, its rules, and how many repos came from it."""

    upstream: Upstream
    token: bool
    rules: Sequence[Rule]
    repos: int


@dataclass(frozen=True, slots=True)
class Upstreams:
    db: Database
    sealing: Sealing

    async def add(
        self,
        actor: Actor,
        upstream: Upstream,
        patterns: Sequence[str] = ("*",),
        *,
        mode: Mode = Mode.MIRROR,
        ttl: int = TTL,
        foreign_tokens: bool = False,
        type_: RepoType | None = None,
        first: bool = False,
    ) -> None:
        """
        An upstream, or other settings of the one of that name, and a rule for each pattern. Rules that there are stay.

        Raises `Invalid` for a name, a URL, a host or a pattern that is none.
        """
        kept = _checked(upstream)
        wanted = [check_pattern(pattern) for pattern in patterns]
        if not 0 <= ttl <= 366 * 24 * 3600:
            raise Invalid("A name is good for 0 seconds to a year.")
        sealed = self.sealing.seal(kept.token, sources.purpose(kept.name))
        async with self.db.write() as tx:
            id_ = await mirror.put_upstream(tx, kept, sealed)
            there = {(row.type, row.pattern, row.upstream_id) for row in await mirror.rules(tx)}
            for pattern in wanted:
                row = RuleRow(0, type_ or "", pattern, mode.value, id_, ttl, int(foreign_tokens))
                if (row.type, row.pattern, id_) not in there:
                    await mirror.add_rule(tx, row, first=first)
            await log.append(
                tx, actor, "mirror:upstream:add", kept.name, url=kept.url, patterns=wanted, mode=mode.value
            )

    async def deny(self, actor: Actor, patterns: Sequence[str]) -> None:
        """Let nothing of these names be mirrored: a namespace that is kept for this server, or is not wanted."""
        wanted = [check_pattern(pattern) for pattern in patterns]
        async with self.db.write() as tx:
            for pattern in wanted:
                await mirror.add_rule(tx, RuleRow(0, "", pattern, Mode.DENY.value, None, 0, 0), first=True)
            await log.append(tx, actor, "mirror:rule:deny", "", patterns=wanted)

    async def remove_rule(self, actor: Actor, rule_id: int) -> None:
        async with self.db.write() as tx:
            if not await mirror.delete_rule(tx, rule_id):
                raise NotFound(f"There is no rule {rule_id}.")
            await log.append(tx, actor, "mirror:rule:remove", str(rule_id))

    async def remove(self, actor: Actor, name: str) -> bool:
        """
        Ask an upstream no more. It is forgotten where no repo came from it, True; else it stays, with its repos as they
        are here, and False.
        """
        async with self.db.write() as tx:
            upstream = await _find(tx, name)
            for row in await mirror.rules(tx):
                if row.upstream_id == upstream.id:
                    await mirror.delete_rule(tx, row.id)
            forgotten = not await mirror.holds_repos(tx, upstream.id)
            if forgotten:
                await mirror.delete_upstream(tx, upstream.id)
            else:
                await mirror.set_active(tx, upstream.id, active=False)
            await log.append(tx, actor, "mirror:upstream:remove", name)
        return forgotten

    async def configure(self, actor: Actor, url: str) -> None:
        """Have the upstream that the setting names, for every repo that no other rule is for; "" asks it no more."""
        every = [up for up, _ in await mirror.upstreams(self.db) if up.active]
        found = [up for up in every if up.configured]
        if any(up.url == url.rstrip("/") for up in every) if url else not found:
            return
        if url:
            await self.add(actor, Upstream(0, CONFIGURED, url, hosts=HOSTS, configured=True))
            return
        async with self.db.write() as tx:
            for upstream in found:
                await mirror.set_active(tx, upstream.id, active=False)

    async def all(self) -> list[Listed]:
        rules = [sources.rule(row) for row in await mirror.rules(self.db)]
        return [
            Listed(
                up,
                bool(self.sealing.open(sealed, sources.purpose(up.name))),
                [rule for rule in rules if rule.upstream_id == up.id],
                len(await mirror.repos_of(self.db, up.id)),
            )
            for up, sealed in await mirror.upstreams(self.db)
        ]

    async def denied(self) -> list[Rule]:
        rules = [sources.rule(row) for row in await mirror.rules(self.db)]
        return [rule for rule in rules if rule.mode is Mode.DENY]

    # policies

    async def require(
        self, actor: Actor, patterns: Sequence[str], subject: Subject, values: Sequence[str], verdict: Verdict
    ) -> list[Policy]:
        """Have snapshots of these repos be so before they are handed out. Raises `Invalid`."""
        wanted = [policy.checked(pattern, subject, verdict, values) for pattern in patterns]
        async with self.db.write() as tx:
            made = [replace(each, id=await mirror.add_policy(tx, _policy_row(each))) for each in wanted]
            await log.append(
                tx, actor, "mirror:policy:add", "", patterns=list(patterns), requires=subject.value,
                values=list(values), verdict=verdict.value,
            )  # fmt: skip
        return made

    async def policies(self) -> list[Policy]:
        return [sources.policy(row) for row in await mirror.policies(self.db)]

    async def drop(self, actor: Actor, policy_id: int) -> None:
        async with self.db.write() as tx:
            if not await mirror.delete_policy(tx, policy_id):
                raise NotFound(f"There is no policy {policy_id}.")
            await log.append(tx, actor, "mirror:policy:remove", str(policy_id))

    async def release(self, actor: Actor, type_: RepoType, name: str, revision: str) -> tuple[Repo, CommitId]:
        """Let a commit out of quarantine: by its id, or the one that a name is here at."""
        async with self.db.write() as tx:
            repo = await _repo(tx, type_, name)
            if names.is_commit_id(revision) and await mirror.has_commit(
                tx, repo.id, CommitId(revision.lower())
            ):
                commit = CommitId(revision.lower())
            elif (known := await mirror.find_name(tx, repo.id, revision)) is not None:
                commit = known.commit
            else:
                raise NotFound(f"{revision} of {repo.ref.full} has not been asked for yet.")
            await mirror.let_out(tx, repo.id, commit)
            await log.append(tx, actor, "mirror:commit:release", str(repo.ref), commit=commit)
            return repo, commit

    async def totals(self) -> Totals:
        return await mirror.totals(self.db)

    # repos

    async def pin(self, actor: Actor, type_: RepoType, name: str, revision: str, *, pinned: bool) -> Repo:
        """Keep a name at the commit where it is, and that commit's content here; or not any more."""
        async with self.db.write() as tx:
            repo = await _repo(tx, type_, name)
            if not await mirror.pin_name(tx, repo.id, revision, pinned=pinned):
                raise NotFound(f"{revision} of {repo.ref.full} has not been asked for yet.")
            await log.append(
                tx, actor, f"mirror:name:{'pin' if pinned else 'unpin'}", str(repo.ref), name=revision
            )
            return repo

    async def grant(self, actor: Actor, type_: RepoType, name: str, user: str, *, granted: bool) -> Repo:
        """Let a user read what is private or gated upstream, whatever upstream says; or not any more."""
        async with self.db.write() as tx:
            repo, key = await _repo(tx, type_, name), f"user:{await _user(tx, user)}"
            if granted:
                await mirror.put_right(tx, repo.id, key, allowed=True, recorded=True)
            else:
                await mirror.drop_right(tx, repo.id, key)
            await log.append(tx, actor, "mirror:right:set", str(repo.ref), user=user, granted=granted)
            return repo

    async def link(self, actor: Actor, user: str, upstream: str, token: str) -> None:
        """Keep a user's own token of an upstream, by which their rights there are known; "" forgets it."""
        async with self.db.write() as tx:
            user_id, there = await _user(tx, user), await _find(tx, upstream)
            if token:
                sealed = self.sealing.seal(token, rights.purpose(there.id, user_id))
                await mirror.link_token(tx, there.id, user_id, sealed)
            else:
                await mirror.unlink_token(tx, there.id, user_id)
            await log.append(tx, actor, "mirror:token:link", user, upstream=upstream, linked=bool(token))


def _policy_row(made: Policy) -> PolicyRow:
    return PolicyRow(0, made.pattern, made.subject.value, made.verdict.value, " ".join(made.values))


# Where huggingface.co sends for bytes: by suffix, for the names have changed every year (HUB 1.1).
HOSTS = (".hf.co", ".huggingface.co")


def _checked(upstream: Upstream) -> Upstream:
    url = upstream.url.rstrip("/")
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        plain = False
    if not plain or "@" in parts.netloc or parts.query or parts.fragment or not url.isprintable():
        raise Invalid(f"{upstream.url!r} is no URL of a Hub.", hint="It is like https://huggingface.co")
    if not _NAME.fullmatch(upstream.name):
        raise Invalid(f"{upstream.name!r} cannot be the name of an upstream.", hint="Use a-z 0-9 . _ -")
    for host in upstream.hosts:
        if not _HOST.fullmatch(host):
            raise Invalid(f"{host!r} is no suffix of hosts.", hint="It is like .hf.co or cdn.example.org")
    if any(not c.isascii() or not c.isprintable() or c == " " for c in upstream.token):
        raise Invalid("A token has no blanks and no other characters than those of ASCII.")
    return Upstream(
        0, upstream.name, url, upstream.token, upstream.hosts, upstream.proxy, upstream.ca_file,
        configured=upstream.configured,
    )  # fmt: skip


async def _find(reader: Reader, name: str) -> Upstream:
    for upstream, _ in await mirror.upstreams(reader):
        if upstream.name == name:
            return upstream
    raise NotFound(f"There is no upstream named {name}.")


async def _user(reader: Reader, name: str) -> int:
    account = await accounts.find(reader, names.key(name))
    if account is None or account.kind != "user":
        raise AccountNotFound(f"There is no user named {name}.")
    return account.id


async def _repo(reader: Reader, type_: RepoType, name: str) -> Repo:
    found = await repos.find(reader, type_, names.key(name))
    if found is None or found[0].upstream_id is None:
        raise RepoNotFound(f"No {type_.value} {name} has been mirrored yet.")
    return found[0]
