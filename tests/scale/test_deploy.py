"""What deploy/ has for clusters is sound as far as this machine can tell: its syntax, and our commands in it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from maskrcnn.cli.main import app

DEPLOY = Path(__file__).parents[2] / "deploy"


def refused(words: list[str]) -> str | None:
    """What our command line says against a command; None where it understands it."""
    group: Any = typer.main.get_command(app)
    try:
        with group.make_context("maskrcnn", list(words)) as context:
            while hasattr(context.command, "commands"):
                name, command, rest = context.command.resolve_command(
                    context, [*context._protected_args, *context.args]
                )
                context = command.make_context(name, rest, parent=context)
    except Exception as error:  # noqa: BLE001
        return str(error)
    return None


def commands(text: str) -> list[list[str]]:
    """Those of ours in a script, each of the shell's variables as the word 1."""
    joined = re.sub(r"\\\n\s*", "", text).replace(" $RESUME", " --resume")
    found = re.findall(r"^[^#\n]*?(?:^|\s|')maskrcnn ((?:predict|launch) [^\n<']*)", joined, re.MULTILINE)
    return [shlex.split(re.sub(r"\$(\(\([^)]*\)\)|\w+)", "1", line)) for line in found]


@pytest.mark.parametrize("name", ["slurm-predict.sh", "slurm-train.sh"])
def test_scripts(name: str) -> None:
    assert subprocess.run(["bash", "-n", str(DEPLOY / name)], check=False).returncode == 0
    if shutil.which("shellcheck"):
        assert subprocess.run(["shellcheck", str(DEPLOY / name)], check=False).returncode == 0
    (words,) = commands((DEPLOY / name).read_text())
    assert refused(words) is None
    if words[0] == "launch":
        assert refused(words[words.index("train") :]) is None


def test_kubernetes() -> None:
    job = yaml.safe_load((DEPLOY / "kubernetes-predict.yaml").read_text())
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"], spec["completionMode"]) == ("batch/v1", "Job", "Indexed")
    (container,) = spec["template"]["spec"]["containers"]
    (words,) = commands(container["args"][0])
    assert refused(words) is None and words[words.index("--shard") + 1] == f"1/{spec['completions']}"
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == container["name"]
    (volume,) = spec["template"]["spec"]["volumes"]
    assert volume["name"] == container["volumeMounts"][0]["name"]


def test_kuberay() -> None:
    job = yaml.safe_load((DEPLOY / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    (words,) = commands(job["spec"]["entrypoint"])
    assert refused(words) is None and words[words.index("--ray") + 1] == "auto"
    cluster = job["spec"]["rayClusterSpec"]
    images = {
        each["image"]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
        for each in group["template"]["spec"]["containers"]
    }
    assert len(images) == 1


def test_a_wrong_command_would_be_noticed() -> None:
    assert refused(["predict", "m", "photos", "--shards", "1/2"])
