"""Images for calibration, prepared exactly as `predict` and `evaluate` prepare them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.export.graph import least_side
from maskrcnn.images.batch import pad_batch
from maskrcnn.labels.channels import with_channels
from maskrcnn.labels.types import Dataset
from maskrcnn.runtime.exported_folder import MOST_SIDE, SideRange
from maskrcnn.runtime.exported_graph import fitted
from maskrcnn.training_data.samples import TestSamples


class CalibrationImages:
    """Up to `count` images of a data set, spread over the whole of it, one (images, sizes) at a time;
    iterates anew.
    """

    def __init__(self, dataset: Dataset, config: ModelConfig, count: int) -> None:
        """
        Raises:
            UserError: no images.
        """
        if len(dataset) == 0:
            raise UserError(
                f"--calibrate {dataset.name}: no images; int8 is fitted to what the network sees in them"
            )
        self.dataset = with_channels(dataset, config.input.channels, config.input.value_range)
        self.config = config
        count = min(count, len(dataset))
        self.indices = [number * len(dataset) // count for number in range(count)]

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        config = self.config.input
        sides = SideRange(least=least_side(self.config), most=MOST_SIDE, multiple=config.divisor)
        samples = TestSamples(self.dataset, config)
        for index in self.indices:
            batch = pad_batch([samples[index][1]], config.divisor)
            yield fitted(batch.images, sides), batch.sizes
