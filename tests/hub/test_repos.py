"""Repos: made, found, moved, removed; and who is told of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hubreg.errors import (
    Conflict,
    GatedAnonymous,
    GatedRepo,
    Invalid,
    InvalidCredentials,
    Refused,
    RepoExists,
    RepoHidden,
    RepoNotFound,
    RevisionNotFound,
    Unauthenticated,
)
from hubreg.formats import gitattributes
from hubreg.identity.access import Access
from hubreg.identity.accounts import SYSTEM
from hubreg.model import INVALID_TOKEN, Action, OrgRole, RepoType, TokenRole
from hubreg.store.repos import Search
from tests.hub.conftest import Hub, add, lines

pytestmark = pytest.mark.anyio

MODEL = RepoType.MODEL


async def test_a_new_repo_has_one_commit_with_gitattributes(hub: Hub) -> None:
    """The same first commit as on the Hub; datasets get more rules, Spaces a card with their sdk."""
    model = await hub.repo()
    history, total = await hub.app.history.commits(hub.ann, model, "main")
    assert (total, history[0].title) == (1, "initial commit")
    assert await hub.content(model, ".gitattributes") == gitattributes.DEFAULT.encode()
    data = await hub.app.repos.create(hub.ann, RepoType.DATASET, None, "data")
    assert await hub.content(data, ".gitattributes") == gitattributes.DATASET.encode()
    space = await hub.app.repos.create(hub.ann, RepoType.SPACE, "ann", "demo", sdk="gradio")
    assert b"sdk: gradio" in await hub.content(space, "README.md")


async def test_a_name_is_taken_in_any_case_but_by_type(hub: Hub) -> None:
    """The refusal carries the URL of the repo that has it, which clients need for `exist_ok`."""
    await hub.repo("Model")
    with pytest.raises(RepoExists, match="You already created this model repo: ann/Model") as refused:
        await hub.app.repos.create(hub.ann, MODEL, "ANN", "mOdel")
    assert refused.value.body == {"url": "/ann/Model"}
    data = await hub.app.repos.create(hub.ann, RepoType.DATASET, None, "Model")
    assert str(data.ref) == "datasets/ann/Model"


async def test_of_racing_creations_one_wins(hub: Hub) -> None:
    """The others are told that it exists."""
    made = await asyncio.gather(*[hub.repo("same") for _ in range(6)], return_exceptions=True)
    assert sorted(type(result).__name__ for result in made) == ["Repo"] + ["RepoExists"] * 5


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "-a", "a.git", "a--b", "a..b", "ä", "a" * 97, "a b", "a\0"]
)
async def test_names_that_no_repo_may_have(hub: Hub, name: str) -> None:
    """They are refused before anything is written."""
    with pytest.raises(Invalid):
        await hub.repo(name)
    assert await hub.app.db.all("SELECT * FROM repos") == []


async def test_repos_are_made_where_one_may(hub: Hub) -> None:
    """In one's own namespace and in organisations where one is at least a contributor."""
    await hub.app.accounts.add_org(SYSTEM, "org", private_by_default=True)
    with pytest.raises(Refused):
        await hub.app.repos.create(hub.bob, MODEL, "ann", "m")
    with pytest.raises(Refused):
        await hub.app.repos.create(hub.ann, MODEL, "org", "m")
    with pytest.raises(Refused):
        await hub.app.repos.create(replace(hub.ann, token_role=TokenRole.READ), MODEL, None, "m")
    with pytest.raises(Unauthenticated):
        await hub.app.repos.create(hub.eve, MODEL, "ann", "m")
    await hub.app.accounts.set_member(SYSTEM, "org", "ann", OrgRole.CONTRIBUTOR)
    member = replace(hub.ann, roles={**hub.ann.roles, "org": OrgRole.CONTRIBUTOR})
    assert (await hub.app.repos.create(member, MODEL, "org", "m")).private
    assert not (await hub.app.repos.create(member, MODEL, "org", "n", private=False)).private


async def test_private_and_absent_are_told_apart_by_nobody(hub: Hub) -> None:
    """The same class, text and headers, for a stranger and for somebody without credentials."""
    await hub.repo("secret", private=True)
    for actor, refusal in [(hub.bob, RepoNotFound), (hub.eve, RepoHidden)]:
        said = []
        for name in ("ann/secret", "ann/absent"):
            with pytest.raises(refusal) as refused:
                await hub.app.repos.find(actor, MODEL, name, Action.READ)
            said.append(
                (type(refused.value), refused.value.message, refused.value.headers, refused.value.body)
            )
        assert said[0] == said[1]


async def test_a_broken_token_reads_what_is_public(hub: Hub) -> None:
    """People keep their real Hub token in the environment: it counts as none for public content."""
    await hub.repo()
    assert (await hub.app.repos.find(INVALID_TOKEN, MODEL, "ann/model", Action.READ)).ref.name == "model"


async def test_a_gated_repo_shows_itself_and_keeps_its_files(hub: Hub) -> None:
    """Its existence is public, its content is its members'."""
    repo = await hub.repo()
    await hub.app.repos.set_settings(hub.ann, repo, gated="manual")
    for actor, refusal in [(hub.bob, GatedRepo), (hub.eve, GatedAnonymous)]:
        assert (await hub.app.repos.find(actor, MODEL, "ann/model")).gated == "manual"
        with pytest.raises(refusal, match="Access to model ann/model is restricted"):
            await hub.app.repos.find(actor, MODEL, "ann/model", Action.READ)
        with pytest.raises(refusal):
            await hub.app.content.locate(actor, MODEL, "ann/model", "main", ".gitattributes")
    assert (await hub.app.repos.find(hub.ann, MODEL, "ann/model", Action.READ)).id == repo.id
    found = await hub.app.content.locate(hub.ann, MODEL, "ann/model", "main", ".gitattributes")
    assert found.entry.path == ".gitattributes"


async def test_a_moved_repo_is_found_under_both_names(hub: Hub) -> None:
    """Until somebody takes the old one; its history and files come along."""
    repo = await hub.repo()
    await hub.commit(repo, add("a.txt"))
    moved = await hub.app.repos.move(hub.ann, repo, "ann/Renamed")
    assert moved.ref.full == "ann/Renamed"
    assert (await hub.app.repos.find(hub.bob, MODEL, "Ann/model")).ref.full == "ann/Renamed"
    await hub.commit(repo, add("b.txt"))
    assert await hub.tree(moved) == [".gitattributes", "a.txt", "b.txt"]
    taken = await hub.repo("model")
    assert (await hub.app.repos.find(hub.bob, MODEL, "ann/model")).id == taken.id
    with pytest.raises(Conflict, match="A model repository called ann/model already exists"):
        await hub.app.repos.move(hub.ann, moved, "ann/model")
    assert (await hub.app.repos.move(hub.ann, moved, "ann/renamed")).ref.name == "renamed"


async def test_a_repo_moves_only_where_its_mover_may_create(hub: Hub) -> None:
    """And only by whom it belongs to."""
    repo = await hub.repo()
    with pytest.raises(Refused):
        await hub.app.repos.move(hub.ann, repo, "bob/model")
    with pytest.raises(Refused):
        await hub.app.repos.move(hub.bob, repo, "bob/model")
    assert await hub.again(repo) == repo


async def test_a_deleted_repo_is_gone_with_all_its_names(hub: Hub) -> None:
    """And its name may be used again, for something with nothing of the old one."""
    repo = await hub.repo()
    made = await hub.commit(repo, add("a.txt"))
    with pytest.raises(Refused):
        await hub.app.repos.delete(hub.bob, repo)
    moved = await hub.app.repos.move(hub.ann, repo, "ann/other")
    await hub.app.repos.delete(hub.ann, moved)
    for name in ("ann/model", "ann/other"):
        with pytest.raises(RepoNotFound):
            await hub.app.repos.find(hub.ann, MODEL, name)
    again = await hub.repo("other")
    assert await hub.tree(again) == [".gitattributes"]
    with pytest.raises(RevisionNotFound):
        await hub.app.snapshots.resolve(again, made.id)


async def test_settings_change_what_is_named(hub: Hub) -> None:
    """What is None stays; a gate that does not exist is refused."""
    repo = await hub.repo()
    changed = await hub.app.repos.set_settings(hub.ann, repo, private=True)
    changed = await hub.app.repos.set_settings(hub.ann, changed, gated="auto")
    assert (changed.private, changed.gated) == (True, "auto")
    with pytest.raises(Invalid, match='"gated" must be one of'):
        await hub.app.repos.set_settings(hub.ann, repo, gated="closed")
    with pytest.raises(Refused):
        await hub.app.repos.set_settings(hub.bob, repo, private=False)


async def test_a_duplicate_has_the_history_and_goes_its_own_way(hub: Hub) -> None:
    """Large files too: the duplicate holds them without their being sent again."""
    repo = await hub.repo()
    digest = await hub.large(repo, b"weights")
    from_commit = await hub.commit(repo, add("a.txt", "1"))
    copy = await hub.app.repos.duplicate(hub.bob, repo, "bob/copy")
    assert (copy.ref.full, copy.head, copy.storage) == (
        "bob/copy",
        from_commit.id,
        (await hub.again(repo)).storage,
    )
    await hub.commit(repo, add("a.txt", "2"))
    assert await hub.content(copy, "a.txt") == b"1"
    assert (await hub.app.history.commits(hub.bob, copy, "main"))[1] == 2
    assert digest


async def test_a_private_repo_is_duplicated_by_its_readers_only(hub: Hub) -> None:
    """To others it does not exist."""
    repo = await hub.repo("secret", private=True)
    with pytest.raises(RepoNotFound):
        await hub.app.repos.duplicate(hub.bob, repo, "bob/copy")
    assert (await hub.app.repos.duplicate(hub.ann, repo, "ann/copy")).private


async def test_lists_show_public_repos_and_ones_own(hub: Hub) -> None:
    """A private repo is in the lists of those who may know of it."""
    await hub.repo("open")
    await hub.repo("secret", private=True)

    async def seen(actor: object) -> list[str]:
        found = await hub.app.repos.search(actor, Search(MODEL))  # type: ignore[arg-type]  # any actor
        return sorted(repo.ref.name for repo in found)

    assert await seen(hub.ann) == ["open", "secret"]
    assert await seen(hub.bob) == await seen(hub.eve) == ["open"]
    assert await seen(replace(hub.bob, admin=True)) == ["open", "secret"]


@pytest.mark.parametrize("wanted", [{"words": ("w",) * 51}, {"tags": ("t",) * 51}, {"words": ("w" * 501,)}])
async def test_a_search_of_too_much_is_refused(hub: Hub, wanted: dict[str, tuple[str, ...]]) -> None:
    """Each word is a condition of the query: databases have a limit, and it is no 500."""
    await hub.repo()
    with pytest.raises(Invalid, match="A search may have 50 words and filters"):
        await hub.app.repos.search(hub.eve, Search(MODEL, **wanted))
    most = Search(MODEL, words=("model",) * 49, tags=("absent" * 80,))
    assert await hub.app.repos.search(hub.eve, most) == []
    assert len(await hub.app.repos.search(hub.eve, replace(most, words=("model",) * 50, tags=()))) == 1


async def test_without_anonymous_reading_nobody_looks_around(hub: Hub) -> None:
    """Not even at the names of what is public; a user does."""
    await hub.repo()
    shut = replace(hub.app.repos, access=Access(anonymous=False))
    for actor, refusal in [(hub.eve, Unauthenticated), (INVALID_TOKEN, InvalidCredentials)]:
        with pytest.raises(refusal):
            await shut.search(actor, Search(MODEL))
        with pytest.raises(refusal):
            await shut.all_tags(actor, MODEL)
    assert [repo.ref.full for repo in await shut.search(hub.bob, Search(MODEL))] == ["ann/model"]


async def test_a_duplicate_leaves_behind_what_nothing_leads_to(hub: Hub) -> None:
    """Somebody's proposal, and what a squash took out of the history; a merged proposal is part of it."""
    repo = await hub.repo()
    merged = await hub.app.commits.commit(hub.bob, repo, "main", lines(add("a")), propose=True)
    await hub.app.discussions.merge(hub.ann, repo, 1)
    secret = await hub.app.commits.commit(hub.bob, repo, "main", lines(add("secret")), propose=True)
    await hub.app.refs.create_branch(hub.ann, repo, "b")
    gone = await hub.commit(repo, add("gone"), revision="b")
    await hub.app.commits.squash(hub.ann, repo, "b")
    copy = await hub.app.repos.duplicate(hub.bob, repo, "bob/copy")
    for commit in (secret.id, gone.id):
        with pytest.raises(RevisionNotFound):
            await hub.app.snapshots.resolve(copy, commit)
        assert await hub.app.snapshots.resolve(repo, commit) == commit
    assert await hub.app.snapshots.resolve(copy, merged.id) == merged.id
    assert await hub.tree(copy) == [".gitattributes", "a"]
    assert await hub.tree(copy, "b") == [".gitattributes", "a", "gone"]


async def test_a_licence_is_an_identifier(hub: Hub) -> None:
    """It becomes a line of YAML, so it is nothing that could be another line; a Space has one too."""
    for license_ in ("mit\nsdk: docker", "a: b", "[x]", "-", "mit ", "x" * 101, "&a"):
        with pytest.raises(Invalid, match=r"such as apache-2\.0"):
            await hub.app.repos.create(hub.ann, MODEL, None, "m", license_=license_)
    model = await hub.app.repos.create(hub.ann, MODEL, None, "m", license_="bigscience-bloom-rail-1.0")
    assert await hub.content(model, "README.md") == b"---\nlicense: bigscience-bloom-rail-1.0\n---\n"
    space = await hub.app.repos.create(hub.ann, RepoType.SPACE, None, "s", sdk="static", license_="mit")
    assert await hub.content(space, "README.md") == b"---\ntitle: s\nsdk: static\nlicense: mit\n---\n"


async def test_first_files_are_bounded_as_others_are(hub: Hub) -> None:
    """A file over what git takes is refused, and there is no repo."""
    large = b"x" * (hub.app.config.regular_max + 1)
    with pytest.raises(Invalid, match="files larger than 10 MiB"):
        await hub.app.repos.create(hub.ann, MODEL, None, "m", files=[add("a.txt", large)])
    repo = await hub.app.repos.create(hub.ann, MODEL, None, "m", files=[add("a.txt", large[1:])])
    assert await hub.tree(repo) == [".gitattributes", "a.txt"]


async def test_only_a_space_has_an_sdk(hub: Hub) -> None:
    """Clients send one along with whatever they make."""
    assert (await hub.app.repos.create(hub.ann, MODEL, None, "m", sdk="<script>")).sdk == ""
    with pytest.raises(Invalid, match="A Space needs an sdk"):
        await hub.app.repos.create(hub.ann, RepoType.SPACE, None, "s", sdk="<script>")
