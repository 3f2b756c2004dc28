"""Embed a sentence with hf-hub and candle, in Rust: embed_rust.py REPO."""

import sys

from answers import answer
from embed_anything import EmbeddingModel, embed_query

model = EmbeddingModel.from_pretrained_hf(model_id=sys.argv[1])
answer(embedding=embed_query(["the hub serves a small model"], embedder=model)[0].embedding)
