"""One file by Xet: xet.py up REPO PATH FILE, or xet.py down REPO PATH; prints the SHA-256 of what came down."""

import hashlib
import json
import sys

from huggingface_hub import HfApi, constants, hf_hub_download

assert not getattr(constants, "HF_HUB_DISABLE_XET", False), "this client would not use Xet"

action, repo, path, *file = sys.argv[1:]
if action == "up":
    api = HfApi()
    api.create_repo(repo, exist_ok=True)
    api.upload_file(path_or_fileobj=file[0], path_in_repo=path, repo_id=repo)
    print(json.dumps(path))
else:
    with open(hf_hub_download(repo, path), "rb") as content:
        print(json.dumps(hashlib.sha256(content.read()).hexdigest()))
