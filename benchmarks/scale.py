"""Many images by processes that are killed, the memory of long lists, Ray's overhead, and what it all costs.

    python benchmarks/scale.py kills|memory|ray|cost ... [--json FILE] [--images N] [--kills K] [--block B]
                               [--lists N ...] [--seconds S] [--rate R] [--ray]

- kills: a tiny network on generated images of 64 x 64, in `--processes` shards, one of which is killed at
  random `--kills` times. Every image must be there once, the bytes equal to those of a run nobody disturbed,
  and no part written twice: a kill then costs the block in work alone.
- memory: peak of a process (with `--ray`, of Ray's driver) at lists of `--lists` images.
- ray: as many images as take `--seconds` in shards, a process a CPU, and by Ray on the same CPUs.
- cost: by calculation from images/s a core (`--rate`, or what `kills` measured).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import arguments, machine, peak_memory
from PIL import Image

from maskrcnn.config.model import ModelConfig
from maskrcnn.files import write_json
from maskrcnn.model.build import build
from maskrcnn.scale.parts import read_run
from maskrcnn.weights.store import save_model

MASKRCNN = [sys.executable, "-m", "maskrcnn"]
CORE_HOUR, GIGABYTE_MONTH, EGRESS = 0.04, 0.023, 0.09  # dollars: a vCPU, object storage, a GB out of a cloud
COUNTS = (10**6, 10**8)
MEGABYTES = {"photo of 1 MB": 1.0, "thumbnail of 50 kB": 0.05}
ROW = 3e-3  # MB of a row with ten objects


def tiny_model(folder: Path) -> Path:
    """A network with random weights that finds something in everything."""
    torch.manual_seed(0)
    settings = {
        "classes": ["thing"],
        "input": {"short_side": 64, "long_side": 64},
        "backbone": {"kind": "mobilenetv2", "freeze": 0},
        "neck": {"channels": 16},
        "rpn": {"sizes": [[16], [32], [64], [128], [256]], "pre_nms_test": 50, "post_nms_test": 20},
        "box_head": {"fc_channels": 32},
        "mask_head": {"convs": 1, "channels": 16},
        "test": {"detections": 5},
    }
    save_model(build(ModelConfig.model_validate(settings)), folder / "model")
    return folder / "model"


def generated(folder: Path, count: int) -> Path:
    """Images of 64 x 64, each another."""
    images = folder / "images"
    images.mkdir()
    for number in range(count):
        small = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(small).resize((64, 64), Image.Resampling.NEAREST).save(images / f"{number:07d}.png")
    return images


def command(model: Path, source: Path | str, out: Path, block: int, *words: str) -> list[str]:
    options = ["--out", str(out), "--block", str(block), "--score", "0.05", "--device", "cpu"]
    return [*MASKRCNN, "predict", str(model), str(source), *options, *words]


def shards(model: Path, images: Path, out: Path, block: int, count: int) -> list[subprocess.Popen[bytes]]:
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [command(model, images, out, block, "--shard", f"{k}/{count}") for k in range(1, count + 1)]
    return [
        subprocess.Popen(each, env=one, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for each in words
    ]


def written(out: Path) -> dict[str, int]:
    """When each part got its name, nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")} if out.exists() else {}


def measure_kills(
    folder: Path, images: int, kills: int, block: int, processes: int, seed: int
) -> dict[str, Any]:
    model, source, draw = tiny_model(folder), generated(folder, images), random.Random(seed)
    begin = time.monotonic()
    codes = [each.wait() for each in shards(model, source, folder / "whole", block, processes)]
    whole, done, doubled, sent = time.monotonic() - begin, dict[str, int](), 0, 0
    assert codes == [0] * processes, codes
    begin = time.monotonic()
    while True:
        running = shards(model, source, folder / "killed", block, processes)
        if sent < kills:
            # from the start of the first process on: imports, listing, a block, the writing of a part
            until = time.monotonic() + draw.uniform(0.2, 4 + 2 * whole / (kills + 1))
            while time.monotonic() < until and any(each.poll() is None for each in running):
                time.sleep(0.01)
            victim = draw.choice(running)
            if victim.poll() is None:
                victim.send_signal(draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
                sent += 1
            for each in running:  # the others stop where they are, as on a machine that goes away
                each.kill()
        codes = [each.wait() for each in running]
        now = written(folder / "killed")
        doubled += sum(now.get(name) != moment for name, moment in done.items())
        done = now
        if codes == [0] * processes:
            break
    run, ids = read_run(folder / "killed"), list[int]()
    for number in run.blocks:
        ids += [row["id"] for row in run.rows(number)]
    same = all(
        (folder / "whole" / name).read_bytes() == (folder / "killed" / name).read_bytes()
        for name in [*done, "run.json"]
    )
    return {
        "images": images,
        "block": block,
        "processes": processes,
        "kills": sent,
        "each image once": ids == list(range(1, images + 1)),
        "parts": len(done),
        "parts written twice": doubled,
        "bytes equal to an undisturbed run": same,
        "seconds undisturbed": round(whole, 1),
        "seconds with kills": round(time.monotonic() - begin, 1),
        "images/s a process": round(images / whole / processes, 1),
    }


def measure_memory(folder: Path, lists: list[int], ray: bool) -> dict[str, Any]:
    model, found = tiny_model(folder), {}
    for count in lists:
        file = folder / f"{count}.txt"
        with file.open("w") as lines:
            lines.writelines(f"/bucket/of/photographs/day-{n % 365:03d}/{n:09d}.jpg\n" for n in range(count))
        # no image is there, so all that counts is the list; one block of it
        words = ["--ray", "local", "--max-failures", "0"] if ray else ["--shard", f"1/{-(-count // 256)}"]
        found[str(count)] = _peak(command(model, "-", folder / str(count), 256, *words), file)
    return {"MB at images listed": found, "ray": ray}


def _peak(words: list[str], file: Path) -> int:
    """MB that the process of a command that reads a file took at most, without those that it started."""
    quiet, peak = subprocess.DEVNULL, 0
    with file.open() as lines:
        running = subprocess.Popen(words, stdin=lines, stdout=quiet, stderr=quiet)
    while running.poll() is None:
        peak = max(peak, peak_memory(running.pid))
        time.sleep(0.02)
    # images that are not there; any other code is of work that was not done
    assert running.returncode == 3, running.returncode
    return peak >> 20


def measure_ray(folder: Path, seconds: float, block: int) -> dict[str, Any]:
    cpus = len(os.sched_getaffinity(0))
    model = tiny_model(folder)

    def in_shards(count: int) -> float:
        (part := folder / str(count)).mkdir()
        source = generated(part, count)
        begin = time.monotonic()
        codes = [each.wait() for each in shards(model, source, part / "shards", block, cpus)]
        assert codes == [0] * cpus, codes
        return time.monotonic() - begin

    few, many = 50 * cpus, 1050 * cpus
    an_image = (in_shards(many) - in_shards(few)) / (many - few)  # without the start
    count = int(seconds / an_image)
    ours, source = in_shards(count), folder / str(count) / "images"
    begin = time.monotonic()
    subprocess.run(command(model, source, folder / "ray", block, "--ray", "local"), check=True)
    ray = time.monotonic() - begin
    return {
        "images": count,
        "CPUs": cpus,
        "seconds in shards": round(ours, 1),
        "seconds by Ray": round(ray, 1),
        "overhead percent": round(100 * (ray / ours - 1), 1),
    }


def calculate_cost(rate: float) -> dict[str, Any]:
    """Dollars for images of a size, at `rate` images/s a core; calculated, not measured."""
    rows = []
    for count in COUNTS:
        hours = count / rate / 3600
        for name, size in MEGABYTES.items():
            gigabytes, results = count * size / 1000, count * ROW / 1000
            rows.append(
                {
                    "images": count,
                    "of": name,
                    "core hours": round(hours),
                    "hours on 64 cores": round(hours / 64, 1),
                    "computing $": round(hours * CORE_HOUR),
                    "storage $ a month": round((gigabytes + results) * GIGABYTE_MONTH),
                    "egress $, all images": round(gigabytes * EGRESS),
                    "egress $, results": round(results * EGRESS, 2),
                }
            )
    prices = {"core hour": CORE_HOUR, "GB month": GIGABYTE_MONTH, "GB egress": EGRESS}
    return {"calculated": True, "images/s a core": rate, "prices $": prices, "rows": rows}


def main() -> None:
    parser = arguments(__doc__, rounds=False)
    parser.add_argument("what", nargs="+", choices=["kills", "memory", "ray", "cost"])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--block", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lists", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=60, help="of the run that Ray is compared with")
    parser.add_argument("--rate", type=float, help="images/s a core, for cost")
    parser.add_argument("--ray", action="store_true", help="memory: of Ray's driver")
    given = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    for what in given.what:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if what == "kills":
                found[what] = measure_kills(
                    folder, given.images, given.kills, given.block, given.processes, given.seed
                )
            elif what == "memory":
                found[what] = measure_memory(folder, given.lists, given.ray)
            elif what == "ray":
                found[what] = measure_ray(folder, given.seconds, given.block)
            else:
                rate = given.rate or found.get("kills", {}).get("images/s a process")
                if rate is None:
                    parser.error("cost: give --rate, images/s a core")
                found[what] = calculate_cost(rate)
        print(what, json.dumps(found[what], indent=1))
        if given.json:
            write_json(given.json, found)


if __name__ == "__main__":
    main()
