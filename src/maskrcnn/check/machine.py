"""What a training may use of this machine."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil
import torch

from maskrcnn.environment import best_device, usable_cores
from maskrcnn.shell import counted


@dataclass(frozen=True)
class Machine:
    """Cores, memory and accelerator, and the processes that train together."""

    cores: int  # for each process
    memory_gb: float  # free, of the accelerator where there is one
    device: str  # "cpu", "cuda" or "mps"
    bf16: bool  # whether arithmetic in bf16 is faster than in 32 bits
    processes: int = 1  # of the training, on all machines

    @classmethod
    def here(cls) -> Machine:
        """This one, and the processes that torchrun tells of."""
        device = best_device()
        cores = max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if device == "cuda":
            free, bf16 = torch.cuda.mem_get_info()[0], torch.cuda.is_bf16_supported()
        else:
            free = psutil.virtual_memory().available
            bf16 = device == "cpu" and torch.cpu._is_avx512_bf16_supported() and _bf16_is_faster()
        return cls(cores, free / 2**30, device, bf16, world)

    @property
    def line(self) -> str:
        of_each = "" if self.processes == 1 else f" for each of {self.processes} processes"
        return f"{counted(self.cores, 'core')}{of_each}, {self.device}, {self.memory_gb:.0f} GB free"


def _bf16_is_faster() -> bool:
    """Whether products are. A Zen 5 takes half the time of 32 bits for them, an Intel Xeon without AMX twice
    the time, and both say that they have bf16.
    """
    return product_seconds(torch.bfloat16) < 0.8 * product_seconds(torch.float32)


def product_seconds(kind: torch.dtype) -> float:
    """The least time of six that a product of matrices takes."""
    matrix, taken = torch.ones(768, 768, dtype=kind), []
    for _ in range(6):
        began = time.perf_counter()
        matrix @ matrix
        taken.append(time.perf_counter() - began)
    return min(taken)
