"""Jobs that compete for the cores while something is measured."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from kseq.platforms.processes import usable_cores

from .contest import ContestantError

__all__ = ["COMPETITIONS", "Competition", "competing"]

_LOWEST = 19
# "nobody" of Linux.
_OTHER_USER = 65534

# Says that it is there, and ends with its parent, however that ends.
_BUSY = """
import os, sys
if int(sys.argv[1]):
    os.setsid(), os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
os.nice(int(sys.argv[2]))
print(flush=True)
parent = os.getppid()
while os.getppid() == parent:
    for number in range(1_000_000):
        pass
"""


@dataclass(frozen=True)
class Competition:
    """What goes on beside.

    Attributes:
        key: In the name of a table.
        title: What it is.
        steps: Of niceness; None for no job.
        other_login: Its jobs belong to another user, in a session of its own.
    """

    key: str
    title: str
    steps: int | None = None
    other_login: bool = False


COMPETITIONS = (
    Competition("idle", "on an idle machine"),
    Competition("lowest", "beside a busy loop per core, of the same login, at the lowest priority", _LOWEST),
    Competition("normal", "beside a busy loop per core, of the same login, at the same priority", 0),
    Competition("other", "beside a busy loop per core, of another login, at the same priority", 0, other_login=True),
)


@contextlib.contextmanager
def competing(competition: Competition) -> Iterator[None]:
    """Let the jobs run while the block does.

    Raises:
        ContestantError: Where they cannot be started: only root can start a job of another login.
    """
    if competition.other_login and os.geteuid():
        raise ContestantError("needs a job of another login, which only root can start")
    command = [sys.executable, "-c", _BUSY, str(_OTHER_USER * competition.other_login), str(competition.steps)]
    with contextlib.ExitStack() as ending:
        for _ in range(0 if competition.steps is None else usable_cores()):
            try:
                job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            except OSError as error:
                raise ContestantError(f"a competing job cannot be started: {error.strerror}") from error
            ending.callback(job.communicate)
            ending.callback(job.kill)
            if not (job.stdout and job.stdout.readline()):
                _, told = job.communicate()
                raise ContestantError(f"a competing job ended: {told.decode(errors='replace').strip()[-200:]}")
        yield
