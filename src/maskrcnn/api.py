"""The network with what a user does to it: load, save, share, predict. `maskrcnn.MaskRCNN` is this class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack, overload

from maskrcnn.errors import UserError
from maskrcnn.export.cached import engine_of
from maskrcnn.instances import Instances
from maskrcnn.model import mask_rcnn
from maskrcnn.model.optimise import fingerprint
from maskrcnn.predict import predictor
from maskrcnn.runtime.engine import Runner
from maskrcnn.runtime.torch_engine import refuse_nan
from maskrcnn.video.predict import check_videos
from maskrcnn.video.source import video_source
from maskrcnn.video.stream import VideoStream
from maskrcnn.video.zones import read_zones
from maskrcnn.weights import hub, trunk
from maskrcnn.weights.load import load_model
from maskrcnn.weights.store import save_model


class PredictOptions(TypedDict, total=False):
    """What `predict` takes besides the images; it says what each is, and its default."""

    score: float | None
    batch: int
    tiles: predictor.Tiles
    tta: bool
    engine: str | None
    allow_network: bool


class MaskRCNN(mask_rcnn.MaskRCNN):
    """Mask R-CNN (He et al. 2017), an `nn.Module`; its shapes and losses are described at its base class."""

    # by their name, the engines that predicted last, each with the fingerprint of what it was made of
    _engines: Mapping[str, tuple[tuple[object, ...], Runner]] = {}

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

    @overload
    def predict(  # type: ignore[overload-overlap]  # text is iterable too
        self, source: predictor.Pixels, **options: Unpack[PredictOptions]
    ) -> Instances: ...

    @overload
    def predict(  # type: ignore[overload-overlap]  # text is iterable too
        self, source: str | Path, **options: Unpack[PredictOptions]
    ) -> Instances | Any: ...

    @overload
    def predict(
        self, source: Iterable[predictor.One], **options: Unpack[PredictOptions]
    ) -> list[Instances]: ...

    def predict(
        self,
        source: predictor.One | Iterable[predictor.One],
        *,
        score: float | None = None,
        batch: int = 1,
        tiles: predictor.Tiles = "auto",
        tta: bool = False,
        engine: str | None = None,
        allow_network: bool = False,
    ) -> Instances | list[Instances]:
        """The objects in an image, or in each of several.

        Args:
            source: a file by its path, its bytes, or open in binary mode; an array (H, W), (H, W, 3) RGB or
                RGBA: 8 or 16 bits, or floats from 0 to 1, others are refused without
                `config.input.value_range`; a Pillow image; an address. Or a folder, a pattern such as
                'shots/*.jpg', or any number of these.
            score: the least score of an object, 0 to 1; None: the model's own, `config.test.predict_score`.
            batch: images of one shape that go through the network together, at most.
            tiles: "auto" predicts images that are far larger than the model is made for in overlapping tiles,
                each object once; a number: those larger than so many pixels, in tiles of that side; "off".
            tta: look at each image mirrored and at other sizes too, for about four times the time.
            engine: "torch", "openvino", "onnxruntime" or "auto", the fastest installed.
            allow_network: fetch addresses (https), which are refused otherwise.

        Returns:
            Instances of a single image; of a folder, a pattern or several images a list of them.

        Raises:
            UserError: no such file, an array that is no image, an argument out of its range.
            DataError: an image that cannot be read.
        """
        runner = self._engine(engine or "torch")
        return predictor.predict(
            runner, source, score=score, batch=batch, tiles=tiles, tta=tta, allow_network=allow_network
        )

    def _engine(self, name: str) -> Runner:
        """The network as it is now, by an engine, which is kept on a CPU. Threads may call this at once."""
        if next(self.parameters()).device.type != "cpu":
            refuse_nan(self)
            return engine_of(self, name)
        now, known = fingerprint(self), self._engines.get(name)
        if known is None or known[0] != now:
            known = now, engine_of(self, name)
            # one assignment of what is complete: another thread sees these or those before
            self._engines = {**self._engines, name: known}
        return known[1]

    def stream(
        self,
        source: str | Path | int,
        *,
        score: float | None = None,
        track: bool = False,
        count: str | Path | None = None,
        batch: int = 1,
        tiles: predictor.Tiles = "auto",
        engine: str | None = None,
        fps: float | None = None,
        allow_network: bool = False,
    ) -> VideoStream:
        """The frames of a video with what was found in each: `for frame in model.stream("video.mp4"): ...`.

        A frame has `number`, `seconds`, `pixels` and `found`; decoding goes on in the background meanwhile.

        Args:
            source: a video file, the number of a camera, an address (rtsp://, http://), or, with `fps`, the
                images that are its frames: a folder, a pattern or a numbered name such as shots/%05d.png.
            score: as `predict` takes it; an object that goes on with a track may have less.
            track: objects keep their `found.track_ids` from frame to frame.
            count: the file of zones at which tracked objects are counted: `frame.counts`.
            batch: frames that go through the network together.
            tiles: as `predict` takes it.
            engine: likewise.
            fps: frames a second of images.
            allow_network: addresses may be opened.

        Raises:
            UserError: no such video, a wrong argument, or an extra is not installed: `maskrcnn[video]`.
            DataError: while it goes on: it cannot be read, or hangs.
        """
        video = video_source(str(source), allow_network=allow_network, fps=fps)
        if video is None:
            raise UserError(f"{source}: no video; for images that are its frames add fps")
        check_videos([video], ())
        runner = self._engine(engine or "torch")
        zones = [] if count is None else read_zones(Path(count), self.config.classes)
        return VideoStream(runner, video, score=score, batch=batch, track=track, zones=zones, tiles=tiles)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_engines"}
