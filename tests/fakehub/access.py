"""Who may see what, in the Hub's order of refusals: the repo, its gate, its being disabled, the revision. HUB 4.2."""

from __future__ import annotations

from tests.fakehub.answers import Call, Refused
from tests.fakehub.repos import Commit, Kind, Repo

PREFIX: dict[Kind, str] = {"model": "", "dataset": "datasets/", "space": "spaces/", "kernel": "kernels/"}


def page_url(call: Call, repo: Repo) -> str:
    return f"{call.world.public_url}/{PREFIX[repo.kind]}{repo.id}"


def visible(call: Call, kind: Kind, name: str) -> Repo:
    """The repo of that name, in any case and under old names, if the caller may know of it."""
    repo = call.world.find(kind, name)
    if repo is None or not repo.readable(call.name, call.orgs):
        if call.user is None:  # also for a broken token: nobody learns which repos there are
            raise Refused(401, "Invalid username or password.")  # `api-missing-or-private-anonymous-401`
        raise Refused(404, "Repository not found", "RepoNotFound")  # `api-missing-authenticated-404`
    call.seen.repo = repo.id
    return repo


def opened(call: Call, repo: Repo) -> Repo:
    """The repo, if the caller may have its content. One both gated and disabled showed its gate."""
    if not repo.open_to(call.name, call.orgs):
        restricted = f"Access to {repo.kind} {repo.id} is restricted"
        if call.user is None:  # `api-gated-anonymous-401`, `resolve-head-gated-anonymous-401`
            text = (
                f"{restricted}. You must have access to it and be authenticated to access it. Please log in."
            )
            raise Refused(401, text, "GatedRepo")
        visit = f"Visit {page_url(call, repo)} to ask for access."  # `resolve-get-gated-authenticated-403`
        raise Refused(403, f"{restricted} and you are not in the authorized list. {visit}", "GatedRepo")
    if repo.disabled:
        raise Refused(403, "Access to this resource is disabled.")  # `resolve-disabled-403`
    return repo


def at(repo: Repo, revision: str) -> Commit:
    """The commit at a revision."""
    commit = repo.resolve(revision)
    if commit is None:  # `api-bad-revision-404`, `resolve-head-bad-revision-404`
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit
