from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of a test: the first example may wait for torch to be imported. The same code gets
# the same examples each time; `pytest --hypothesis-profile search` looks for others.
CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("search", **CALM)
settings.register_profile("maskrcnn", derandomize=True, **CALM)
settings.load_profile("maskrcnn")


def pytest_configure() -> None:
    # a shell starts what it runs in the background with SIGINT ignored, and so would our tests' processes be
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    # pytest writes the outcome before it tears a fixture down, perhaps into a file above the test's limit
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
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
                resource.setrlimit(
                    resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
                )
            return folder

        yield make
