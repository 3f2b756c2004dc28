"""What the Hub says about a repo, in its key order. HUB 5.1, 5.2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.fakehub.answers import Refused
from tests.fakehub.content import File
from tests.fakehub.repos import Commit, Item, Kind, Repo, iso

# What `expand` may name (HUB 5.1; the client's own lists).
EXPANDABLE: dict[Kind, Sequence[str]] = {
    "model": (
        "author baseModels cardData childrenModelCount config createdAt disabled downloads downloadsAllTime evalResults"
        " gated gguf inference inferenceProviderMapping lastModified library_name likes mask_token model-index"
        " pipeline_tag private resourceGroup safetensors sha siblings spaces tags transformersInfo trendingScore"
        " usedStorage widgetData"
    ).split(),
    "dataset": (
        "author cardData citation createdAt description disabled downloads downloadsAllTime gated lastModified likes"
        " mainSize paperswithcode_id private resourceGroup sha siblings tags trendingScore usedStorage"
    ).split(),
    "space": (
        "author cardData createdAt datasets disabled lastModified likes models private region resourceGroup runtime sdk"
        " sha siblings subdomain tags trendingScore usedStorage"
    ).split(),
    "kernel": (),
}

# What a list shows of a repo (`list-models-page-200`, `list-datasets-entry-200`); a Space's row is a guess.
ROW: dict[Kind, Sequence[str]] = {
    "model": "_id id likes trendingScore private downloads tags pipeline_tag library_name createdAt modelId".split(),
    "dataset": (
        "_id id author disabled gated lastModified likes private sha description downloads tags createdAt"
    ).split(),
    "space": "_id id likes trendingScore private sdk tags createdAt".split(),
    "kernel": "_id id author likes private downloads gated lastModified sha".split(),
}
FULL = "author sha lastModified gated disabled siblings".split()  # what `full=true` adds (HUB 5.2)


def tree_item(item: Item, last: Commit | None, security: dict[str, Any] | None) -> dict[str, Any]:
    """An entry of `tree` and `paths-info` (`tree-bert-200`; with `last`, `tree-expand-entry-200`)."""
    file = item.file
    shown: dict[str, Any] = {
        "type": "file" if file else "directory",
        "oid": item.oid,
        "size": file.size if file else 0,
    }
    if file and file.large:
        shown["lfs"] = {"oid": file.content.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    if file and file.xet_hash:
        shown["xetHash"] = file.xet_hash
    shown["path"] = item.path
    if last:
        shown["lastCommit"] = {"id": last.id, "title": last.title, "date": iso(last.date)}
        if file and security:
            shown["securityFileStatus"] = security
    return shown


def sibling(path: str, file: File, *, blobs: bool) -> dict[str, Any]:
    """A file as repo info lists it; here the SHA-256 is called so (`model-info-siblings-blobs-200`)."""
    if not blobs:
        return {"rfilename": path}
    shown: dict[str, Any] = {"rfilename": path, "blobId": file.oid, "size": file.size}
    if file.large:
        shown["lfs"] = {"sha256": file.content.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return shown


def facts(repo: Repo, commit: Commit | None, *, blobs: bool = False) -> dict[str, Any]:
    """Everything that is known of a repo at a commit, what the test put in `facts` on top."""
    head = repo.resolve("main") or commit
    said: dict[str, Any] = {"_id": repo.public_id, "id": repo.id}
    if repo.kind == "model":
        said["modelId"] = repo.id
    said["author"] = repo.namespace
    if commit and head:
        said |= {"sha": commit.id, "lastModified": iso(head.date)}
    said |= {"private": repo.private, "gated": repo.gated, "disabled": repo.disabled}
    said |= {"tags": []} | OWN[repo.kind] | {"downloads": 0, "likes": 0}
    if commit:
        files = [(path, commit.files.get(path)) for path in commit.tree.paths("", recursive=True) or ()]
        said["siblings"] = [sibling(path, file, blobs=blobs) for path, file in files if file]
        said["usedStorage"] = sum(file.size for file in commit.files.values() if file.large)
    said["createdAt"] = repo.created
    return {key: value for key, value in (said | repo.facts).items() if value is not None or key in NULLABLE}


# The keys of one type only, with what an empty repo has there (`model-info-revision-private-200`).
OWN: dict[Kind, dict[str, Any]] = {
    "model": {
        "model-index": None,
        "config": {},
        "cardData": {},
        "transformersInfo": {},
        "widgetData": {},
        "spaces": [],
        "trendingScore": 0,
        "downloadsAllTime": 0,
    },
    "dataset": {
        "citation": None,
        "description": None,
        "cardData": {},
        "trendingScore": 0,
        "downloadsAllTime": 0,
    },
    "space": {
        "cardData": {},
        "sdk": "static",
        "runtime": {
            "stage": "RUNNING",
            "hardware": {"current": None, "requested": None},
            "replicas": {"requested": 1, "current": 1},
        },
        "models": [],
        "datasets": [],
        "trendingScore": 0,
    },
    "kernel": {"authorData": {}, "trustedPublisher": False, "isLikedByUser": False, "repoType": "kernel"},
}
NULLABLE = {"model-index"}  # null and not absent (HUB 5.1)
ON_DEMAND = {
    "trendingScore",
    "downloadsAllTime",
    "childrenModelCount",
    "baseModels",
    "inferenceProviderMapping",
}
OF_A_KERNEL = (  # `kernel-info-200`
    "_id author authorData trustedPublisher downloads gated id isLikedByUser lastModified likes private repoType sha"
    " supportedDriverFamilies"
).split()


def by_default(repo: Repo, said: dict[str, Any]) -> dict[str, Any]:
    """Without `expand`: everything but what has to be asked for; a kernel has few keys."""
    if repo.kind == "kernel":
        return {key: said[key] for key in OF_A_KERNEL if key in said}
    return {key: value for key, value in said.items() if key not in ON_DEMAND}


def expanded(kind: Kind, said: dict[str, Any], asked: Sequence[str]) -> dict[str, Any]:
    """The two ids and what was asked for, in the order of asking (`model-info-expand-200`)."""
    check_expand(kind, asked)
    return {key: said[key] for key in dict.fromkeys(["_id", "id", *asked]) if key in said}


def check_expand(kind: Kind, asked: Sequence[str]) -> None:
    """Refuse what cannot be expanded; clients read the values off the sentence (`seeds`: expand=does_not_exist)."""
    for place, name in enumerate(asked):
        if name not in EXPANDABLE[kind]:
            options = "|".join(f'"{option}"' for option in EXPANDABLE[kind])
            raise Refused(400, f"Invalid option: expected one of {options} at expand[{place}]")
