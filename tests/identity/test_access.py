"""The table at the top of `identity/access.py`, line by line, and the words in which each refusal is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hubreg.errors import (
    GatedAnonymous,
    GatedRepo,
    HubregError,
    InvalidCredentials,
    Refused,
    RepoDisabled,
    RepoHidden,
    RepoNotFound,
    Unauthenticated,
)
from hubreg.identity.access import Access, absent, require_user
from hubreg.model import (
    ANONYMOUS,
    INVALID_TOKEN,
    Action,
    Actor,
    CommitId,
    Millis,
    OrgRole,
    RepoId,
    RepoType,
    TokenRole,
)
from hubreg.store.repos import Repo

PUBLIC = Repo(
    id=1,
    public_id="f00d",
    ref=RepoId(RepoType.MODEL, "Acme", "model"),
    namespace_id=2,
    namespace_kind="org",
    creator_id=1,
    private=False,
    gated="",
    disabled=False,
    sdk="",
    created_at=Millis(0),
    modified_at=Millis(0),
    head=CommitId("c" * 40),
    storage=0,
    likes=0,
    downloads=0,
    pipeline_tag="",
    library="",
    card="{}",
    config="{}",
)
PRIVATE = replace(PUBLIC, private=True)
GATED = replace(PUBLIC, gated="manual")
DISABLED = replace(PUBLIC, disabled=True)


def user(role: OrgRole | None = None, *, id_: int = 5, token: TokenRole = TokenRole.WRITE) -> Actor:
    """Somebody with this role in Acme and this token. The creator of the repos has id 1."""
    return Actor(id_, "somebody", token_role=token, roles={"acme": role} if role else {})


STRANGER = user()
READER = user(OrgRole.READ)
CONTRIBUTOR = user(OrgRole.CONTRIBUTOR)
CREATOR = user(OrgRole.CONTRIBUTOR, id_=1)
WRITER = user(OrgRole.WRITE)
ADMIN = user(OrgRole.ADMIN)
SITE_ADMIN = replace(STRANGER, admin=True)


def allowed(actor: Actor, repo: Repo) -> str:
    """The actions that are not refused, in the order of the table."""
    access = Access()
    passed: list[str] = []
    for action in Action:
        try:
            access.require(actor, action, repo)
        except HubregError:
            continue
        passed.append(action.value)
    return " ".join(passed)


@pytest.mark.parametrize(
    ("actor", "public", "private", "gated"),
    [
        (ANONYMOUS, "know read", "", "know"),
        (INVALID_TOKEN, "know read", "", "know"),
        (STRANGER, "know read propose", "", "know"),
        (READER, "know read propose", "know read propose", "know read propose"),
        (CONTRIBUTOR, "know read propose", "know read propose", "know read propose"),
        (CREATOR, *["know read propose write manage"] * 3),
        (WRITER, *["know read propose write manage"] * 3),
        (ADMIN, *["know read propose write manage"] * 3),
        (SITE_ADMIN, *["know read propose write manage"] * 3),
    ],
    ids="anonymous invalid stranger reader contributor creator writer admin site-admin".split(),
)
def test_who_may_do_what(actor: Actor, public: str, private: str, gated: str) -> None:
    """Each line of the table, on a public, a private and a gated repo."""
    assert [allowed(actor, repo) for repo in (PUBLIC, PRIVATE, GATED)] == [public, private, gated]


@pytest.mark.parametrize(
    "actor", [CREATOR, WRITER, ADMIN, SITE_ADMIN], ids="creator writer admin site".split()
)
def test_a_read_token_only_reads(actor: Actor) -> None:
    """Whatever its user may do."""
    assert allowed(replace(actor, token_role=TokenRole.READ), PRIVATE) == "know read"


def test_having_created_a_repo_is_no_role() -> None:
    """Who has left the organisation is a stranger to what they created there."""
    assert allowed(user(id_=1), PUBLIC) == "know read propose"
    assert allowed(user(id_=1), PRIVATE) == ""


def test_a_role_is_one_in_one_namespace() -> None:
    """An administrator of another organisation is a stranger here; names are compared as they are looked up."""
    elsewhere = Actor(5, "somebody", token_role=TokenRole.WRITE, roles={"other": OrgRole.ADMIN})
    assert allowed(elsewhere, PRIVATE) == ""
    assert Access().role(ADMIN, "ACME") is OrgRole.ADMIN
    assert Access().role(elsewhere, "Acme") is None


def test_a_disabled_repo_can_be_known_and_managed() -> None:
    """Its content is closed to everybody, its owner may still delete it."""
    assert allowed(ADMIN, DISABLED) == "know manage"
    assert allowed(STRANGER, DISABLED) == "know"


def test_without_anonymous_reading() -> None:
    """Whoever has no token of ours learns nothing, not even of public repos; users are as before."""
    access = Access(anonymous=False)
    for actor, refusal in ((ANONYMOUS, RepoHidden), (INVALID_TOKEN, InvalidCredentials)):
        assert not access.knows(actor, PUBLIC)
        with pytest.raises(refusal):
            access.require(actor, Action.KNOW, PUBLIC)
        with pytest.raises(Unauthenticated):
            access.require_entry(actor)
    access.require(STRANGER, Action.READ, PUBLIC)
    access.require_entry(STRANGER)
    Access().require_entry(ANONYMOUS)


# in which words


@pytest.mark.parametrize(
    ("actor", "action", "repo", "status", "code", "message"),
    [
        (ANONYMOUS, Action.KNOW, PRIVATE, 401, "RepoNotFound", "Invalid username or password."),
        (INVALID_TOKEN, Action.READ, PRIVATE, 401, None, "Invalid credentials in Authorization header"),
        (STRANGER, Action.WRITE, PRIVATE, 404, "RepoNotFound", "Repository not found"),
        (ANONYMOUS, Action.WRITE, PUBLIC, 401, None, "Invalid username or password."),
        (INVALID_TOKEN, Action.PROPOSE, PUBLIC, 401, None, "Invalid credentials in Authorization header"),
        (STRANGER, Action.WRITE, PUBLIC, 403, None, "You do not have the right to write model Acme/model."),
        (
            ANONYMOUS,
            Action.READ,
            GATED,
            401,
            "GatedRepo",
            "Access to model Acme/model is restricted. You must have access to it and be authenticated to access"
            " it. Please log in.",
        ),
        (
            STRANGER,
            Action.READ,
            GATED,
            403,
            "GatedRepo",
            "Access to model Acme/model is restricted and you are not in the authorized list. Visit Acme/model to"
            " ask for access.",
        ),
        (ADMIN, Action.READ, DISABLED, 403, None, "Access to this resource is disabled."),
        (ADMIN, Action.WRITE, DISABLED, 403, None, "Access to this resource is disabled."),
    ],
)
def test_the_words_of_a_refusal(
    actor: Actor, action: Action, repo: Repo, status: int, code: str | None, message: str
) -> None:
    """Status, wire word and text are the Hub's (HUB 4.2): its clients choose their exception by them."""
    with pytest.raises(HubregError) as refusal:
        Access().require(actor, action, repo)
    assert (refusal.value.status, refusal.value.message) == (status, message)
    assert code is None or refusal.value.code == code


@pytest.mark.parametrize(
    "actor", [ANONYMOUS, INVALID_TOKEN, STRANGER], ids=["anonymous", "invalid", "stranger"]
)
def test_a_hidden_repo_is_refused_like_one_that_is_not_there(actor: Actor) -> None:
    """Nothing in the refusal tells the two apart."""
    with pytest.raises(HubregError) as refusal:
        Access().require(actor, Action.READ, PRIVATE)
    missing = absent(actor)
    assert (type(refusal.value), str(refusal.value), refusal.value.hint) == (
        type(missing),
        str(missing),
        missing.hint,
    )
    assert isinstance(missing, RepoNotFound | InvalidCredentials)


@pytest.mark.parametrize(
    ("actor", "refusal"),
    [
        (ANONYMOUS, GatedAnonymous),
        (INVALID_TOKEN, GatedAnonymous),
        (STRANGER, RepoDisabled),
        (READER, RepoDisabled),
    ],
    ids=["anonymous", "invalid", "stranger", "reader"],
)
def test_a_repo_that_is_both_gated_and_disabled(actor: Actor, refusal: type[HubregError]) -> None:
    """Who has not logged in is told to first, as the Hub does."""
    with pytest.raises(refusal):
        Access().require(actor, Action.READ, replace(GATED, disabled=True))


def test_gated_and_refused_are_different_things() -> None:
    """A member passes the gate without being asked, a stranger with a token is told that there is one."""
    Access().require(READER, Action.READ, GATED)
    with pytest.raises(GatedRepo):
        Access().require(STRANGER, Action.PROPOSE, GATED)


# what is asked of no repo


def test_who_may_create_in_a_namespace() -> None:
    """Contributors and up, with a write token; everybody else is told why."""
    access = Access()
    for actor in (CONTRIBUTOR, WRITER, ADMIN, SITE_ADMIN):
        access.require_namespace(actor, "Acme")
    for actor in (STRANGER, READER):
        with pytest.raises(Refused, match="create a repo in Acme"):
            access.require_namespace(actor, "Acme")
    with pytest.raises(Refused, match="may only read"):
        access.require_namespace(replace(ADMIN, token_role=TokenRole.READ), "Acme")
    with pytest.raises(Unauthenticated):
        access.require_namespace(ANONYMOUS, "Acme")


def test_who_is_logged_in() -> None:
    """A user is, with a read token for reading only; nobody is not, and a wrong token is said to be one."""
    require_user(STRANGER, write=True)
    require_user(replace(STRANGER, token_role=TokenRole.READ))
    with pytest.raises(Refused):
        require_user(replace(STRANGER, token_role=TokenRole.READ), write=True)
    with pytest.raises(Unauthenticated, match="username or password"):
        require_user(ANONYMOUS)
    with pytest.raises(InvalidCredentials, match="in Authorization header"):
        require_user(INVALID_TOKEN)
