"""`python -m hubreg`: the same as the command `hubreg`."""

from __future__ import annotations

from hubreg.cli.main import main

if __name__ == "__main__":
    main()
