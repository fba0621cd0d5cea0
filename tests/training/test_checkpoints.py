"""The folder of checkpoints: who may write into it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from kseq.errors import LockedError
from kseq.training.checkpoints import CheckpointFolder
from tests.helpers.messages import raises

HOLD = """
import sys, time
from kseq.training.checkpoints import CheckpointFolder
CheckpointFolder(sys.argv[1], 1).lock()
print("locked", flush=True)
time.sleep(60)
"""


def test_two_processes_cannot_train_with_one_folder_until_the_first_is_gone(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path / "checkpoints"), 1)
    with subprocess.Popen([sys.executable, "-c", HOLD, folder.path], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            with raises(LockedError, folder.path, "another process", "another folder"):
                folder.lock()
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(100)
        # Killed, it has given nothing back itself.
        folder.lock()
        folder.unlock()


def test_a_process_may_train_again_with_a_folder_that_an_error_left_locked(tmp_path: Path) -> None:
    for _ in range(2):
        CheckpointFolder(str(tmp_path), 1).lock()
    CheckpointFolder(str(tmp_path), 1).unlock()
    assert list(tmp_path.iterdir()) == []
