"""Load a model and its tokenizer: load_transformers.py REPO [REVISION]."""

import sys

import torch
from answers import answer, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

repo, revision = sys.argv[1], (sys.argv[2:] or ["main"])[0]
options = {} if revision == "main" else {"revision": revision}
model = AutoModelForCausalLM.from_pretrained(repo, **options)
tokenizer = AutoTokenizer.from_pretrained(repo, **options)
batch = tokenizer("the hub serves a small model", return_tensors="pt")
with torch.no_grad():
    made = model.generate(batch["input_ids"], max_new_tokens=4, do_sample=False, pad_token_id=0)
answer(weights=weights(model.state_dict()), tokens=batch["input_ids"][0].tolist(), generated=made[0].tolist())
