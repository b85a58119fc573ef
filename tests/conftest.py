from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# a busy machine is no fault of a test: the first example may wait for torch to be imported
settings.register_profile("maskrcnn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("maskrcnn")


@contextmanager
def _limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(params=["full disk", "limit of file sizes"])
def cramped(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a folder with room for so many bytes: on a disk of that size, or for each file."""
    with ExitStack() as stack:

        def make(size: int) -> Path:
            folder = tmp_path / "cramped"
            folder.mkdir()
            if request.param == "full disk":
                mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
                if subprocess.run(mount, capture_output=True).returncode:
                    pytest.skip("only root may mount a disk")
                stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
            else:
                stack.enter_context(_limit(size))
            return folder

        yield make
