"""Load a dataset whole, and its first rows as a stream: load_dataset.py REPO."""

import sys

from answers import answer
from datasets import load_dataset

rows = load_dataset(sys.argv[1])
stream = load_dataset(sys.argv[1], split="train", streaming=True)
answer(rows={split: list(rows[split]) for split in rows}, streamed=list(stream.take(3)))
