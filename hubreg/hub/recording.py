"""
The last step of whatever changes a repo's history, in the caller's transaction: commits get their rows, refs move, and
the log says so.

A commit by the API, a merge, a squash and a push all end here. What they differ in, how the commit came to be, is
behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hubreg.errors import Conflict, Moved
from hubreg.hub.snapshots import MAIN
from hubreg.model import Actor, CommitId, Oid
from hubreg.store import discussions, log, objects, repos
from hubreg.store.db import Tx
from hubreg.store.objects import Commit
from hubreg.store.repos import Facts, Repo

PULLS = "refs/pr/"
STALE = (
    "A commit has happened since. Please refresh and try again."
    " The branch was updated since you opened this page. Please refresh and try again."
)


@dataclass(frozen=True, slots=True)
class Made:
    """A commit with its id: its row, and a list of `formats.lastcommits` for each folder that it changed."""

    row: Commit
    folders: Sequence[tuple[str, bytes]]


async def keep(tx: Tx, repo: Repo, made: Sequence[Made]) -> None:
    """Make commits part of the repo. Their objects are the caller's to put."""
    await objects.insert_commits(tx, repo.id, [commit.row for commit in made])
    rows = [(commit.row.id, path, data) for commit in made for path, data in commit.folders]
    await objects.put_last_commits(tx, repo.id, rows)


async def move(
    tx: Tx,
    actor: Actor,
    repo: Repo,
    ref: str,
    old: CommitId | None,
    new: CommitId,
    *,
    tag: Oid | None = None,
    facts: Facts | None = None,
    commits: Sequence[Commit] = (),
) -> None:
    """
    Move a ref from `old` (None: create it) to `new`. `tag` is the annotated tag by which it leads there; `facts` what
    `main` is to show from now on; `commits` those that are new on a pull request, oldest first.

    Raises `Moved` when the ref is elsewhere by now, `Conflict`, in git's words, for a new one beside which there is one
    that has it as a folder: no clone could hold both. Whoever follows the log learns of it there.
    """
    if old is None and (other := await repos.clashing_ref(tx, repo.id, ref)) is not None:
        raise Conflict(f"cannot lock ref '{ref}': '{other}' exists; cannot create '{ref}'")
    if not await repos.move_ref(tx, repo.id, ref, old, new, tag):
        raise Moved(STALE)
    if ref == MAIN:
        await repos.set_head(tx, repo.id, new, facts)
    else:
        await repos.touch(tx, repo.id)
    if ref.startswith(PULLS) and old is not None:
        number = int(ref.removeprefix(PULLS))
        for commit in commits:
            await discussions.add_commit_event(tx, repo.id, number, actor.user_id, commit.title, commit.id)
    about: dict[str, object] = {"ref": ref, "old": old, "new": new}
    if tag is not None:
        about["annotated"] = tag
    await log.append(tx, actor, "repo:ref:move", str(repo.ref), **about)


async def drop(tx: Tx, actor: Actor, repo: Repo, ref: str, old: CommitId) -> None:
    """Delete a ref. Raises `Moved` when it is not at `old`."""
    if await repos.find_ref(tx, repo.id, ref) != old:
        raise Moved(STALE)
    await repos.delete_ref(tx, repo.id, ref)
    await repos.touch(tx, repo.id)
    await log.append(tx, actor, "repo:ref:delete", str(repo.ref), ref=ref, old=old)
