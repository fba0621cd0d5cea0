"""How the worker processes of a packing end when memory runs out, and how messages say how one ended."""

from __future__ import annotations

from kseq.processes import ProcessDiedError

__all__ = ["OUT_OF_MEMORY_CODE", "cause_of_death"]

# A worker process ends itself with this exit code when memory runs out: what is left may not do for anything else.
OUT_OF_MEMORY_CODE = 112


def cause_of_death(error: ProcessDiedError) -> str:
    """Such as `"killed by signal 9, SIGKILL"`."""
    return "memory ran out" if error.exit_code == OUT_OF_MEMORY_CODE else error.cause
