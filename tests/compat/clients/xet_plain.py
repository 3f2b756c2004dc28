"""A file by plain HTTP, also where Xet is offered: xet_plain.py REPO PATH; prints its SHA-256."""

import hashlib
import json
import sys

from huggingface_hub import hf_hub_download

with open(hf_hub_download(*sys.argv[1:]), "rb") as content:
    print(json.dumps(hashlib.sha256(content.read()).hexdigest()))
