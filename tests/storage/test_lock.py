"""The lock on a dataset's folder: one process at a time, and nobody waits for the dead."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kseq.errors import LockedError, WriteError
from kseq.storage.layout import LOCK_NAME
from kseq.storage.lock import locked
from tests.helpers.messages import raises

HOLD = """
import sys, time
from kseq.storage.lock import locked
with locked(sys.argv[1]):
    print("taken", flush=True)
    time.sleep(100)
"""

# Takes the lock again and again; the file `inside` would be there already if somebody else was in.
CONTEND = """
import os, sys
from kseq.storage.lock import locked
from kseq.errors import LockedError
times = 0
while times < int(sys.argv[2]):
    try:
        with locked(sys.argv[1]):
            inside = os.path.join(sys.argv[1], "inside")
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            os.unlink(inside)
            times += 1
            if times == 3 and sys.argv[3] == "dies":
                os.kill(os.getpid(), 9)
    except LockedError:
        pass
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


def owner(**changes: Any) -> bytes:
    """What a lock file of this process says, with some of it changed."""
    from kseq.storage.lock import _this_process

    return json.dumps(_this_process().__dict__ | changes).encode()


def test_it_is_there_within_the_block_and_gone_after_it(tmp_path: Path) -> None:
    with locked(str(tmp_path)):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_it_is_gone_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), locked(str(tmp_path)):
        raise error
    assert not list(tmp_path.iterdir())


def test_a_second_process_is_refused_and_told_host_and_process(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with raises(LockedError, tmp_path, holder.pid, socket.gethostname()), locked(str(tmp_path)):
        pass
    assert (tmp_path / LOCK_NAME).exists()


def test_a_killed_owner_is_taken_over_even_while_nobody_reaps_it(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with locked(str(tmp_path)):
        pass
    assert not list(tmp_path.iterdir())


def test_a_block_within_a_block_is_refused(tmp_path: Path) -> None:
    with locked(str(tmp_path)):
        with raises(LockedError, tmp_path, os.getpid()), locked(str(tmp_path)):
            pass
        assert (tmp_path / LOCK_NAME).exists()


@pytest.mark.parametrize("changes", [{"start": "1"}, {"pid": 2**22 + 1}, {"boot": "before"}, {"namespace": "pid:[1]"}], ids=str)
def test_an_owner_that_must_be_gone_is_taken_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / LOCK_NAME).write_bytes(owner(**changes))
    with locked(str(tmp_path)):
        assert (tmp_path / LOCK_NAME).read_bytes() == owner()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 7}'])
def test_a_file_whose_owner_died_before_it_wrote_its_name_is_taken_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK_NAME).write_bytes(content)
    with locked(str(tmp_path)):
        pass
    assert not list(tmp_path.iterdir())


def test_a_process_of_another_machine_is_refused_and_the_file_to_remove_named(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_bytes(owner(host="elsewhere", boot="another", pid=7))
    with raises(LockedError, 7, "elsewhere", tmp_path / LOCK_NAME), locked(str(tmp_path)):
        pass
    assert (tmp_path / LOCK_NAME).exists()


def test_a_forked_child_that_leaves_the_block_does_not_give_the_lock_back(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom kseq.storage.lock import locked\nchild = 1\n"
        "with locked(sys.argv[1]):\n    child = os.fork()\n    if child:\n        os.waitpid(child, 0)\n"
        "        assert os.listdir(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=200)
    assert not list(tmp_path.iterdir())


def test_a_forked_child_that_lives_longer_than_its_killed_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom kseq.storage.lock import locked\nwith locked(sys.argv[1]):\n"
        "    begun, begins = os.pipe()\n    child = os.fork()\n"
        "    if not child:\n        os.write(begins, b'1')\n        time.sleep(100)\n"
        "    os.read(begun, 1)\n    print(child, flush=True)\n    os.kill(os.getpid(), 9)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.wait()
        with locked(str(tmp_path)):
            os.kill(child, signal.SIGKILL)


@pytest.mark.slow
def test_of_many_that_take_it_from_each_other_and_from_the_dead_one_has_it(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", CONTEND, tmp_path, "100", "dies" if number % 2 else "lives"])
        for number in range(4)
    ]
    codes = [process.wait(timeout=100) for process in processes]
    assert codes == [0, -signal.SIGKILL] * 2
    assert {path.name for path in tmp_path.iterdir()} <= {LOCK_NAME}


def test_a_file_that_its_owner_removes_just_now_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, path = fcntl.flock, tmp_path / LOCK_NAME
    path.write_bytes(owner(start="1"))

    def remove_before(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_before)
    with locked(str(tmp_path)):
        assert path.read_bytes() == owner()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_on_a_file_system_without_flock_the_name_in_the_file_decides(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(str(tmp_path)), raises(LockedError, tmp_path, os.getpid()), locked(str(tmp_path)):
        pass
    assert not list(tmp_path.iterdir())
    for content, is_refused in [
        (owner(start="1"), False),
        (owner(namespace="pid:[1]"), True),
        (owner(host="elsewhere", boot="another"), True),
        (b"", True),
    ]:
        (tmp_path / LOCK_NAME).write_bytes(content)
        if is_refused:
            with pytest.raises(LockedError), locked(str(tmp_path)):
                pass
        else:
            with locked(str(tmp_path)):
                pass


def test_a_folder_that_is_not_there_or_may_not_be_written_is_a_line(tmp_path: Path) -> None:
    with (
        raises(WriteError, "nowhere", os.strerror(errno.ENOENT)),
        locked(str(tmp_path / "nowhere")),
    ):
        pass


def test_it_costs_next_to_nothing(tmp_path: Path) -> None:
    started = time.process_time()
    for _ in range(100):
        with locked(str(tmp_path)):
            pass
    assert time.process_time() - started < 0.5
