"""Read a repo in every way the library has, and name what each wrong request raises: library.py REPO."""

import hashlib
import sys

import huggingface_hub.errors as errors
from answers import answer
from huggingface_hub import (
    HfApi,
    HfFileSystem,
    file_exists,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.file_download import _CACHED_NO_EXIST

repo = sys.argv[1]
api = HfApi()


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def raised(call, *args, **options):
    """The library's own class among those of the exception."""
    try:
        call(*args, **options)
    except Exception as error:
        return next((c.__name__ for c in type(error).__mro__ if c.__module__ == errors.__name__), repr(error))
    return None


downloaded = digest(hf_hub_download(repo, "model.safetensors"))
snapshot = digest(snapshot_download(repo) + "/model.safetensors")
with HfFileSystem().open(f"{repo}/model.safetensors", "rb", block_size=1000) as file:
    file.seek(8)
    middle = file.read(100).hex()
facts = get_hf_file_metadata(hf_hub_url(repo, "model.safetensors"))
exceptions = {
    "file": raised(hf_hub_download, repo, "absent.txt"),
    "revision": raised(hf_hub_download, repo, "config.json", revision="absent"),
    "repo": raised(hf_hub_download, "acme/absent", "config.json"),
    "anonymous": raised(hf_hub_download, "acme/absent", "config.json", token=False),
    "private": raised(hf_hub_download, "acme/secret-llama", "config.json", token=False),
    "gated": raised(hf_hub_download, "acme/gated-llama", "config.json", token=False),
}
remembered = try_to_load_from_cache(repo, "absent.txt") is _CACHED_NO_EXIST
api.create_repo(repo, exist_ok=True)
answer(
    downloaded=downloaded,
    snapshot=snapshot,
    middle=middle,
    etag=facts.etag,
    size=facts.size,
    commit=facts.commit_hash,
    head=api.model_info(repo, revision="HEAD").sha,
    listed=sorted(f.path for f in api.list_repo_tree(repo, recursive=True)),
    branches={b.name: b.target_commit for b in api.list_repo_refs(repo).branches},
    exists=[file_exists(repo, "config.json"), file_exists(repo, "absent.txt")],
    other_case=api.model_info(repo.upper().replace("ACME", "acme")).id,
    exceptions=exceptions,
    remembered=remembered,
)
