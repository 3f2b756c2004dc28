"""
A stand-in for the Hub and its CDN, on loopback, for whatever has an upstream. Tests of it: `test_*.py` beside it.

It is built from recorded answers (`tests/golden/hub`) and shares no code with hubreg: what both took from one place,
neither could find wrong in the other. Names in backticks in its comments, `like-this-200`, are those of the recorded
answers; HUB n.n is the description of the Hub's wire. What was not recorded says so.

    wire      HTTP on sockets, the ledger of requests
    content   what files hold, generated files of any size
    repos     commits, trees, refs
    world     repos by name, people, quotas, settings
    access    who may see what
    answers   the Hub's headers, JSON, refusals
    info, api       metadata
    files, cdn      bytes
    script    what goes wrong
    fake      FakeHub: all of it
    recorded  the recorded answers, and a world that gives the same
    seeded    stand-ins of the repos that huggingface_hub's own tests read
    process   the same as a process, and its remote control
    egress    a proxy and a certificate in between
"""

from tests.fakehub.content import Content, Declared, File, Generated, Plain, lfs, regular
from tests.fakehub.fake import FakeHub
from tests.fakehub.repos import Commit, Repo
from tests.fakehub.script import Fault
from tests.fakehub.wire import Seen

__all__ = [
    "Commit",
    "Content",
    "Declared",
    "FakeHub",
    "Fault",
    "File",
    "Generated",
    "Plain",
    "Repo",
    "Seen",
    "lfs",
    "regular",
]
