"""Embed a sentence: load_sentences.py REPO-OR-FOLDER."""

import sys

from answers import answer, weights
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1])
state = {name.split(".", 2)[2]: tensor for name, tensor in model.state_dict().items()}
answer(weights=weights(state), embedding=model.encode("the hub serves a small model").tolist())
