"""What a training may use of this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil
import torch

from maskrcnn.environment import best_device, usable_cores
from maskrcnn.shell import counted


@dataclass(frozen=True)
class Machine:
    """Cores, memory and accelerator."""

    cores: int
    memory_gb: float  # free, of the accelerator where there is one
    device: str  # "cpu", "cuda" or "mps"
    bf16: bool  # whether arithmetic in bf16 is faster than in 32 bits

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        cores, device = usable_cores(), best_device()
        if device == "cuda":
            return cls(cores, torch.cuda.mem_get_info()[0] / 2**30, device, torch.cuda.is_bf16_supported())
        bf16 = device == "cpu" and torch.cpu._is_avx512_bf16_supported() and _bf16_is_faster()
        return cls(cores, psutil.virtual_memory().available / 2**30, device, bf16)

    @property
    def line(self) -> str:
        return f"{counted(self.cores, 'core')}, {self.device}, {self.memory_gb:.0f} GB free"


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
