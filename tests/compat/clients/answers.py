"""What the Python clients share: how an answer is printed, and how weights are compared."""

import hashlib
import json


def answer(**facts):
    print(json.dumps(facts))


def weights(state):
    """SHA-256 of each tensor's bytes, by name: what the test reads out of the file that was pushed."""
    return {
        name: hashlib.sha256(t.detach().contiguous().numpy().tobytes()).hexdigest()
        for name, t in state.items()
    }
