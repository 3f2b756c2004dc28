"""An upstream's repo as rows of ours: its name, its namespace, what lists show of it."""

from __future__ import annotations

import secrets

from hubreg.errors import Refused, UpstreamFailed
from hubreg.formats import names
from hubreg.formats.hubreading import Info
from hubreg.model import RepoType
from hubreg.store import accounts, mirror, repos
from hubreg.store.db import Reader, Tx
from hubreg.store.mirror import Described, Upstream
from hubreg.store.repos import Facts, Repo

KIND = "mirror"  # of an account that stands for a namespace upstream


async def is_local(reader: Reader, name: str) -> bool:
    """Whether the namespace of a repo is a user's or an organisation's here: then it is never looked for upstream."""
    namespace, slash, _ = name.rpartition("/")
    account = await accounts.find(reader, names.key(namespace)) if slash else None
    return account is not None and account.kind != KIND


async def adopt(tx: Tx, upstream: Upstream, type_: RepoType, asked: str, said: Info) -> Repo:
    """
    The repo that upstream calls `said.name`, bound to it; `asked` leads there too, where that is another name.

    Raises `Refused` where something here has that name: what is hosted is never shadowed.
    """
    namespace, name = _split(said.name)
    key = names.repo_key(namespace, name)
    found = await repos.find(tx, type_, key)
    if found is not None and (found[0].upstream_id is None or found[0].upstream_id != upstream.id):
        raise Refused(f"{said.name} is another repo here than at {upstream.name}.")
    if found is not None:
        repo_id = found[0].id
    else:
        repo_id = await repos.insert(
            tx, public_id=secrets.token_hex(12), type_=type_, namespace_id=await _namespace(tx, namespace),
            name=name, key=key, creator_id=0, private=said.private, sdk=said.sdk,
        )  # fmt: skip
        await mirror.bind(tx, repo_id, upstream.id, said.name)
    if asked != key:
        await mirror.add_alias(tx, type_.value, asked, repo_id)
    # Where `main` of a repo that is known is by now, only who asks for `main` decides.
    await describe(tx, await _get(tx, repo_id), said, "main" if found is None else "")
    return await _get(tx, repo_id)


async def describe(tx: Tx, repo: Repo, said: Info, revision: str) -> None:
    """What upstream says of the repo now; of its files only where it was asked about `main`."""
    if said.name != repo.upstream_name:
        await _rename(tx, repo, said.name)
    modified = said.modified_at or repo.modified_at
    facts = Described(
        said.private, said.gated, said.disabled, said.sdk, said.created_at or repo.created_at, modified,
        said.likes, said.downloads,
    )  # fmt: skip
    if revision == "main" and said.sha is not None:
        shown = Facts(said.tags, said.pipeline_tag, said.library, said.card, said.config)
        await repos.set_head(tx, repo.id, said.sha, shown)
        await mirror.put_commit(tx, repo.id, said.sha)
        await mirror.put_name(tx, repo.id, "main", said.sha)
        await mirror.put_refs(tx, repo.id, [("refs/heads/main", said.sha)], [])
    await mirror.describe(tx, repo.id, facts)


async def _rename(tx: Tx, repo: Repo, called: str) -> None:
    """Upstream has given it another name: so do we, unless something here has that; the old name leads to it still."""
    namespace, name = _split(called)
    key = names.repo_key(namespace, name)
    found = await repos.find(tx, repo.ref.type, key)
    if (found is not None and found[0].id != repo.id) or await is_local(tx, called):
        return
    owner = await _namespace(tx, namespace)
    await repos.rename(tx, repo, owner, name, key)
    if repo.upstream_id is not None:
        await mirror.bind(tx, repo.id, repo.upstream_id, called)


async def _namespace(tx: Tx, name: str) -> int:
    account = await accounts.find(tx, names.key(name))
    if account is None:
        return await accounts.insert(
            tx, public_id=secrets.token_hex(12), kind=KIND, name=name, key=names.key(name), fullname=name
        )
    if account.kind != KIND:
        raise Refused(f"{account.name} is a user or an organisation here, not the one upstream.")
    return account.id


def _split(name: str) -> tuple[str, str]:
    namespace, bare = names.parse_repo_id(name)
    if namespace is None:
        raise UpstreamFailed(f"The upstream calls a repo {name!r}, which has no namespace.")
    return namespace, bare


async def _get(tx: Tx, repo_id: int) -> Repo:
    repo = await repos.get(tx, repo_id)
    if repo is None:
        raise LookupError(repo_id)
    return repo
