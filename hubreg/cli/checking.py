"""What the policies find in the snapshots that are here."""

from __future__ import annotations

import asyncio

from hubreg.app import App, build
from hubreg.config import Config
from hubreg.ops import directory
from hubreg.store import mirror, repos
from hubreg.store.db import wall

RELEASED = "released"  # from quarantine


def run(config: Config) -> list[dict[str, str]]:
    """A row for each commit in which something was found."""
    directory.existing(config, wall)
    return asyncio.run(_checked(config))


async def _checked(config: Config) -> list[dict[str, str]]:
    async with build(config) as app:
        found = []
        for repo_id in await mirror.repos_of(app.db):
            found += await _of_repo(app, repo_id)
        return found


async def _of_repo(app: App, repo_id: int) -> list[dict[str, str]]:
    repo = await repos.get(app.db, repo_id)
    policies = await app.mirror.sources.policies(repo) if repo is not None else []
    if repo is None or not policies:
        return []
    rows = []
    for commit in await mirror.listed_commits(app.db, repo.id):
        judgement = await app.snapshots.judge(repo, commit, policies)
        if judgement.findings:
            verdict = judgement.verdict
            rows.append(
                {
                    "repo": str(repo.ref),
                    "commit": commit,
                    "verdict": verdict.value if verdict is not None else RELEASED,
                    "why": judgement.reasons,
                }
            )
    return rows
