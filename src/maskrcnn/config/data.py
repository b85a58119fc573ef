"""How labelled images become training samples (`DataConfig`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from maskrcnn.config.section import Fraction, Positive, Section


class AugmentConfig(Section):
    """What training does to an image. Everything geometric is one affine map, so labels follow exactly."""

    flip: Fraction = 0.5
    short_sides: list[Positive] = [640, 672, 704, 736, 768, 800]  # multi-scale: one is drawn per image
    long_side: Positive = 1333
    jitter: tuple[float, float] | None = None  # large-scale jitter (Ghiasi et al. 2021): scale range, then crop
    crop: tuple[int, int] | None = None  # with jitter: the (height, width) every image gets
    mosaic: Fraction = 0.0  # share of steps whose images are each a grid of several (Bochkovskiy et al. 2020)
    mosaic_canvas: tuple[Positive, Positive] = (640, 640)  # height and width of such a grid
    mosaic_grids: list[Positive] = [2]  # tiles per side; one is drawn per step
    turn: Fraction = 0.0  # share of images that are turned by 90, 180 or 270 degrees, where there is no up
    rotate: float = Field(0.0, ge=0)  # largest angle, degrees, by which an image is tilted to either side
    copy_paste: Fraction = 0.0  # share of images that get objects of another one pasted in (Ghiasi et al. 2021)
    colour: Fraction = 0.0  # strength of brightness, contrast, saturation and hue changes
    blur: Fraction = 0.0  # share of images that are blurred
    noise: Fraction = 0.0  # share of images that get noise
    jpeg: Fraction = 0.0  # share of images that are compressed to a poor JPEG and back


class TilesConfig(Section):
    """Large images are trained on in overlapping tiles; those that fit into one stay whole."""

    side: Positive = 1024  # pixels
    overlap: int = Field(
        128, ge=0
    )  # of neighbours, at least; as large as most objects, so that some tile shows all of each
    # a tile's object is one that it shows at least so much of, against the tile that shows most of it; of others it shows a
    # remnant, which is neither object nor background there
    visible: Fraction = 0.3
    empty: Fraction = 0.2  # share of a cut image's tiles without an object that are trained on
    val: bool = True  # evaluate on tiles too, on all of them; else on whole images
    cache_gb: float = Field(20.0, ge=0)  # decoded images are kept on disk up to so much

    @model_validator(mode="after")
    def _advances(self) -> TilesConfig:
        if self.overlap >= self.side:
            raise ValueError(f"overlap must be below side, {self.side}")
        return self


class DataConfig(Section):
    augment: AugmentConfig = AugmentConfig()
    tiles: TilesConfig | None = None
    mask_side: Positive = 112  # ground-truth masks are kept as bitmaps of this side over the object's box
    # images of classes that are in a smaller share of the images are repeated (Gupta et al. 2019, who use 0.001)
    repeat_threshold: float | None = Field(None, gt=0, le=1)
    # samples of more than 8 bits: lower and upper percentile of the data that `model.input.value_range` is taken from; null:
    # all values of their bit depth
    value_percentiles: tuple[float, float] | None = None
    empty: Literal["keep", "drop"] = "keep"  # training images without an object; kept, they are negatives
    workers: int = Field(2, ge=0)

    @model_validator(mode="after")
    def _percentiles(self) -> DataConfig:
        if self.value_percentiles is not None:
            low, high = self.value_percentiles
            if not 0 <= low < high <= 100:
                raise ValueError(f"value_percentiles [{low}, {high}]: write [lower, upper], 0 to 100")
        return self
