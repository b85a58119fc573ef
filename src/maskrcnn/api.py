"""The network with what a user does to it: load, save, share, predict. `maskrcnn.MaskRCNN` is this class."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from maskrcnn.instances import Instances
from maskrcnn.model import mask_rcnn
from maskrcnn.model.optimise import fingerprint
from maskrcnn.predict import predictor
from maskrcnn.runtime.torch_engine import TorchEngine
from maskrcnn.weights import hub, trunk
from maskrcnn.weights.load import load_model
from maskrcnn.weights.store import save_model


class MaskRCNN(mask_rcnn.MaskRCNN):
    """Mask R-CNN (He et al. 2017), an `nn.Module`; its shapes and losses are described at its base class."""

    # the optimised copy that predicted last, and the fingerprint of what it was made of
    _optimised: tuple[tuple[object, ...], TorchEngine] | None = None

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Self:
        """A trained network in eval mode.

        Args:
            source: the name of a shipped or a published model (`maskrcnn models` lists both; the latter are
                downloaded at the first use), a folder that `save_pretrained` or a training wrote, or
                `hf://OWNER/NAME` of the Hugging Face hub.

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
        """Fill the backbone with ImageNet weights, by name or from a file; see
        `maskrcnn.weights.trunk.load_trunk`.
        """
        return trunk.load_trunk(self, source)

    def predict(
        self,
        source: predictor.One | Iterable[predictor.One],
        *,
        score: float | None = 0.5,
        engine: str | None = None,
        **options: Any,
    ) -> Instances | list[Instances]:
        """The objects in an image (path, array, Pillow image) or in each of several; see
        `maskrcnn.predict.predictor.predict`, which has the other arguments."""
        runner = self._engine() if engine in (None, "torch") else self
        return predictor.predict(runner, source, score=score, engine=engine, **options)

    def _engine(self) -> MaskRCNN | TorchEngine:
        """On a CPU an optimised copy of the network as it is now; threads may call this at once."""
        if next(self.parameters()).device.type != "cpu":
            return self
        now, known = fingerprint(self), self._optimised
        if known is None or known[0] != now:
            # one assignment of what is complete: another thread sees this one or the one before
            self._optimised = known = now, TorchEngine(self)
        return known[1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_optimised"}
