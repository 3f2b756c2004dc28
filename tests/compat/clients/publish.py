"""Push every folder of make_models.py with the stock client: publish.py FOLDER."""

import sys
from pathlib import Path

from answers import answer
from huggingface_hub import HfApi

REPOS = {
    "acme/tiny-llama": "llama",
    "acme/tiny-sharded": "sharded",
    "acme/tiny-lora": "lora",
    "acme/tiny-encoder": "bert",
    "acme/tiny-onnx": "onnx",
    "acme/tiny-diffusion": "diffusion",
    "acme/tiny-gguf": "gguf",
}

api = HfApi()
folder = Path(sys.argv[1])
commits = {}
for repo, name in REPOS.items():
    api.create_repo(repo)
    commits[repo] = api.upload_folder(repo_id=repo, folder_path=folder / name).oid
api.create_repo("acme/rows", repo_type="dataset")
commits["acme/rows"] = api.upload_folder(
    repo_id="acme/rows", repo_type="dataset", folder_path=folder / "dataset"
).oid

# two versions: the tag v1 and the branch production stay where main was first
api.create_repo("acme/two-versions")
commits["v1"] = api.upload_folder(repo_id="acme/two-versions", folder_path=folder / "llama").oid
api.create_tag("acme/two-versions", tag="v1")
api.create_branch("acme/two-versions", branch="production")
commits["acme/two-versions"] = api.upload_folder(
    repo_id="acme/two-versions", folder_path=folder / "second"
).oid

api.create_repo("acme/secret-llama", private=True)
commits["acme/secret-llama"] = api.upload_folder(
    repo_id="acme/secret-llama", folder_path=folder / "llama"
).oid

api.create_repo("acme/gated-llama")
api.upload_folder(repo_id="acme/gated-llama", folder_path=folder / "llama")
api.update_repo_settings("acme/gated-llama", gated="manual")

# transformers.js asks main for the config, whatever revision it is given
api.create_tag("acme/tiny-onnx", tag="v1")
answer(**commits)
