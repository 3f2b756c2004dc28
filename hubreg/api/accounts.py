"""People and organisations."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from hubreg.api import answers
from hubreg.api.requests import Elsewhere, Request
from hubreg.errors import AccountNotFound
from hubreg.formats import hubjson
from hubreg.formats.hubjson import iso
from hubreg.identity.access import require_user
from hubreg.model import RepoType
from hubreg.store.accounts import Account, Membership

# The Hub's words (HUB 5.6).
_NO_USER = "This user does not exist"
_NO_ORG = "Sorry, we can't find the page you are looking for."


async def whoami(request: Request) -> Response:
    """Who the token belongs to, with its organisations and the token's own name and role."""
    actor = request.actor
    require_user(actor)
    account = await request.app.accounts.find(actor.name, "user")
    token = hubjson.AccessToken(
        display_name=actor.token_name,
        role=actor.token_role.value if actor.token_role else "",
        created_at=iso(actor.token_created_at),
    )
    shown = hubjson.Whoami(
        type="user",
        id=account.public_id,
        name=account.name,
        fullname=account.fullname,
        email=account.email or None,
        email_verified=bool(account.email),
        can_pay=False,
        period_end=None,
        is_pro=False,
        avatar_url="",
        orgs=[_org_of_user(m) for m in await request.app.accounts.memberships(account)],
        auth=hubjson.Auth(type="access_token", access_token=token),
    )
    return answers.json(request, shown)


def _org_of_user(membership: Membership) -> hubjson.OrgOfUser:
    org = membership.org
    return hubjson.OrgOfUser(
        type="org",
        id=org.public_id,
        name=org.name,
        fullname=org.fullname,
        email=org.email or None,
        can_pay=False,
        period_end=None,
        avatar_url="",
        role_in_org=membership.role.value,
        is_enterprise=False,
    )


async def user(request: Request) -> Response:
    """What is known of a user. Another spelling of the name redirects."""
    account = await _find(request, "user", _NO_USER)
    if account.name != request.params["user"]:
        raise Elsewhere(f"{request.place.prefix}/api/users/{quote(account.name)}/overview")
    orgs = await request.app.accounts.memberships(account)
    counts = await request.app.repos.count(request.actor, account)
    shown = hubjson.UserOverview(
        public_id=account.public_id,
        avatar_url="",
        fullname=account.fullname,
        user=account.name,
        orgs=[
            hubjson.OrgBrief(id=m.org.public_id, name=m.org.name, fullname=m.org.fullname, avatar_url="")
            for m in orgs
        ],
        num_models=counts.get(RepoType.MODEL, 0),
        num_datasets=counts.get(RepoType.DATASET, 0),
        num_spaces=counts.get(RepoType.SPACE, 0),
        created_at=iso(account.created_at),
    )
    return answers.json(request, shown)


async def organization(request: Request) -> Response:
    """What is known of an organisation, in whatever case its name is asked."""
    account = await _find(request, "org", _NO_ORG)
    members = await request.app.accounts.members(account)
    counts = await request.app.repos.count(request.actor, account)
    shown = hubjson.OrgOverview(
        public_id=account.public_id,
        avatar_url="",
        fullname=account.fullname,
        name=account.name,
        details="",
        num_users=len(members),
        num_models=counts.get(RepoType.MODEL, 0),
        num_datasets=counts.get(RepoType.DATASET, 0),
        num_spaces=counts.get(RepoType.SPACE, 0),
    )
    return answers.json(request, shown)


async def members(request: Request) -> Response:
    """The users of an organisation."""
    account = await _find(request, "org", _NO_ORG)
    rows = [
        hubjson.Member(
            public_id=member.public_id,
            avatar_url="",
            fullname=member.fullname,
            user=member.name,
            role=role.value,
        )
        for member, role in await request.app.accounts.members(account)
    ]
    return answers.json(request, rows)


async def _find(request: Request, kind: str, absent: str) -> Account:
    request.app.access.require_entry(request.actor)
    try:
        return await request.app.accounts.find(request.params[kind], kind)
    except AccountNotFound as error:
        raise AccountNotFound(absent) from error
