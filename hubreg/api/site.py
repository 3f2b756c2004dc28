"""What is asked of the site as a whole, not of a repo."""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from hubreg.api import answers
from hubreg.api.requests import Request
from hubreg.errors import Invalid, Unsupported
from hubreg.formats import card, hubjson
from hubreg.model import RepoType

_CARD_BODY = 16 << 20  # bytes


class _Card(Struct, rename="camel"):
    content: str
    repo_type: RepoType | None = None


async def validate_card(request: Request) -> Response:
    """Whether the YAML at the top of a README.md is what the repo's type wants. Errors are a list, with 400."""
    asked = await request.json(_Card, _CARD_BODY)
    errors, warnings = card.validate(asked.content, asked.repo_type or RepoType.MODEL)
    if request.header(b"accept") == "text/plain":
        return answers.text(card.render_findings(errors, warnings), status=400 if errors else 200)
    answer: dict[str, object] = {
        "errors": [{"message": message} for message in errors],
        "warnings": [{"message": message} for message in warnings],
    }
    if errors:
        raise Invalid(errors[0], body=answer)
    return answers.json(request, answer)


async def agent_harnesses(request: Request) -> Response:
    """The agents that clients should tell of: none. A 404 would be asked for again by every process (CLIENTS 1, 1)."""
    return answers.json(request, {"standardEnvVars": [], "harnesses": {}})


async def telemetry(request: Request) -> Response:
    """Where clients say what they do. Nobody listens."""
    return answers.done(request)


async def health(request: Request) -> Response:
    """That this process answers requests."""
    return answers.json(request, {"status": "ok"})


async def tags_by_type(request: Request) -> Response:
    """The tags that repos may be filtered by, by their kind: those that some repo has."""
    tags = await request.app.repos.all_tags(request.actor, request.repo_type)
    return answers.json(request, hubjson.tags_by_type(tags))


async def unsupported(request: Request) -> Response:
    """A call of the Hub that hubreg does not have: 501."""
    raise Unsupported("hubreg does not have this part of the Hub.")
