"""The network with what a user does to it: load, save, share, predict. `maskrcnn.MaskRCNN` is this class."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from maskrcnn.instances import Instances
from maskrcnn.model import mask_rcnn
from maskrcnn.predict import predictor
from maskrcnn.weights import hub, trunk
from maskrcnn.weights.load import load_model
from maskrcnn.weights.store import save_model


class MaskRCNN(mask_rcnn.MaskRCNN):
    """Mask R-CNN (He et al. 2017), an `nn.Module`; its shapes and losses are described at its base class."""

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Self:
        """A trained network in eval mode.

        Args:
            source: the name of a shipped or a published model (`maskrcnn models` lists both; the latter are downloaded
                at the first use), a folder that `save_pretrained` or a training wrote, or `hf://OWNER/NAME` of the
                Hugging Face hub.

        Raises:
            UserError: no such model, or weights that do not fit their settings.
        """
        model = load_model(source, network=cls)
        assert isinstance(model, cls)
        return model

    def save_pretrained(self, folder: str | Path, *, card: str = "") -> None:
        """Write `config.json`, `model.safetensors` and, where given, the model card as `README.md`."""
        save_model(self, folder, card)

    def push_to_hub(self, name: str, *, private: bool = False, card: str = "") -> str:
        """Upload the three files to OWNER/NAME of the Hugging Face hub and return the address.

        Raises:
            UserError: not OWNER/NAME, not allowed, no network, or huggingface_hub is missing.
        """
        return hub.push(self, name, private=private, card=card)

    def load_trunk(self, source: str | Path) -> int:
        """Fill the backbone with ImageNet weights, by name or from a file; see `maskrcnn.weights.trunk.load_trunk`."""
        return trunk.load_trunk(self, source)

    def predict(
        self, source: predictor.One | Iterable[predictor.One], *, score: float | None = 0.5, **options: Any
    ) -> Instances | list[Instances]:
        """The objects in an image (path, array, Pillow image) or in each of several; see
        `maskrcnn.predict.predictor.predict`, which has the other arguments."""
        return predictor.predict(self, source, score=score, **options)
