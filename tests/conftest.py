"""Datasets of tiny photos that many tests share, Python in a process of its own, and how the tests are run."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import kseq
from tests.helpers.paths import ROOT
from tests.helpers.photos import write_numbered, write_photos
from tests.helpers.processes import LEAN, RunPython

# How long an example takes says more of what else the machine does than of kseq; pytest-timeout ends what hangs.
# The examples are the same in every run; `--hypothesis-profile=search` looks for new ones.
settings.register_profile("kseq", deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("kseq")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes run the tests: none besides this one for single files, for folders one more than there are cores.

    Many tests wait: for a disk, for a process that starts, for a deadline.
    """
    names_files = any(Path(argument.split("::")[0]).suffix == ".py" for argument in config.args)
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if names_files else num_cores + 1


# Files whose tests wait for one long process after the other: they begin first, so that no core waits for them in the end.
LONG = (
    "docs/test_pages.py",
    "robustness/test_fit_trouble.py",
    "training/test_several_processes.py",
    "training/test_keras.py",
    "training/test_resume_training.py",
    "viewing/test_browser.py",
    "training/test_input_stats.py",
    "tools/test_doctor.py",
    "training/test_waiting.py",
    "training/test_failing_ranks.py",
    "tools/test_bench.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What belongs to a campaign is slow as well, so that `-m "not slow"` leaves it out; the longest files come first."""
    for item in items:
        if item.get_closest_marker("campaign") is not None:
            item.add_marker(pytest.mark.slow)
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """The collector of garbage leaves alone what stays to the end: thousands of tests, the modules of TensorFlow and others.

    Many tests collect garbage, which would look at these millions of objects each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def unawaited_disk() -> Iterator[None]:
    """Lets this process wait for no disk: nobody pulls the plug, and most of the time of many a test went into it.

    The processes that tests start wait as ever. A test of flushes puts its own in place of this.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lets JAX keep what it compiles, which takes some seconds in each of the many processes that tests start."""
    base = tmp_path_factory.getbasetemp()
    # Processes of xdist have folders of their own, in one of the run.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
        patched.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patched.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        yield


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw dataset of 100 numbered samples of 4 x 4 pixels in 7 shards: 80 train, 20 val, classes a, b, c."""
    root = tmp_path_factory.mktemp("numbered")
    write_numbered(root / "photos", {"a": 50, "b": 30, "c": 20})
    kseq.pack(root / "photos", root / "packed", images=kseq.ImageSettings("raw", (4, 4)), val=0.2, shard_bytes=800, workers=0)
    return root / "packed"


@pytest.fixture
def packed(numbered: Path, tmp_path: Path) -> Path:
    """A copy of the numbered dataset, to be changed: 80 train, 20 val; classes a (sample ids 0 to 49), b (50 to 79), c."""
    return Path(shutil.copytree(numbered, tmp_path / "packed"))


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw dataset of 24 other samples of the same classes and sizes, whose pixels say 0 to 23 too: 18 train, 6 val."""
    root = tmp_path_factory.mktemp("second")
    write_numbered(root / "photos", {"a": 4, "b": 8, "c": 12})
    kseq.pack(root / "photos", root / "packed", images=kseq.ImageSettings("raw", (4, 4)), val=0.25, shard_bytes=300, workers=0)
    return root / "packed"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 JPEG photos of several sizes, classes cat (40) and dog (20)."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, {"cat": 40, "dog": 20})
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of 30 photos that no other test uses: classes cat (20) and dog (10)."""
    write_photos(tmp_path / "photos", {"cat": 20, "dog": 10})
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def packed_photos(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos as they are (`keep`) in several shards: 48 train, 12 val."""
    target = tmp_path_factory.mktemp("packed") / "photos"
    kseq.pack(photos, target, val=0.2, shard_bytes=30_000, workers=0)
    return target


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Runs code in a Python process of its own. A hang or a non-zero exit fails the test, and shows all that was printed.

    With a backend, Keras has it, and no packages beside it that Keras can do without, unless the process is not `lean`.
    """

    def run(
        code: str,
        *arguments: object,
        backend: str | None = None,
        lean: bool = True,
        timeout: float = 500,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", PYTHONFAULTHANDLER="1")
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        if backend is not None:
            environment["KERAS_BACKEND"] = backend
            code = LEAN * lean + code
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run
