"""What a training may use of this machine."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

from maskrcnn.environment import usable_cores


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
        cores = usable_cores()
        if torch.cuda.is_available():
            return cls(cores, torch.cuda.mem_get_info()[0] / 2**30, "cuda", torch.cuda.is_bf16_supported())
        memory = psutil.virtual_memory().available / 2**30
        if torch.backends.mps.is_available():
            return cls(cores, memory, "mps", False)
        return cls(cores, memory, "cpu", bool(torch.cpu._is_avx512_bf16_supported()))

    @property
    def line(self) -> str:
        return f"{self.cores} cores, {self.device}, {self.memory_gb:.0f} GB free"
