"""How labelled images become training samples (`DataConfig`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from maskrcnn.config.section import Fraction, Section, Side


class AugmentConfig(Section):
    """What training does to an image. Everything geometric is one affine map, so labels follow exactly."""

    flip: Fraction = 0.5
    """Share of images that are mirrored left to right; left and right keypoints change places."""
    short_sides: list[Side] = [640, 672, 704, 736, 768, 800]
    """Short sides in pixels, of which one is drawn for each step. Not used with `jitter` and `crop`."""
    long_side: Side = 1333
    """Longest side in pixels; a longer image is shrunk further than its short side asks for."""
    jitter: tuple[float, float] | None = None
    """Smallest and largest scale of large-scale jitter (Ghiasi et al. 2021), where 1 fits the image into
    `crop`."""
    crop: tuple[Side, Side] | None = None
    """With `jitter`: height and width in pixels of the window that is cut from every image."""
    mosaic: Fraction = 0.0
    """Share of steps whose images are each a grid of several (Bochkovskiy et al. 2020)."""
    mosaic_canvas: tuple[Side, Side] | None = None
    """Height and width of such a grid, pixels; null: `crop`, or the largest of `short_sides` for both, so
    that it becomes smaller with the images."""
    mosaic_grids: list[Annotated[int, Field(gt=0, le=16)]] = [2]
    """Images per side of such a grid; one number is drawn for each step."""
    turn: Fraction = 0.0
    """Share of images turned by 90, 180 or 270 degrees: for objects with no right way up, such as
    cells or aerial images."""
    rotate: float = Field(0.0, ge=0, le=45)
    """Largest angle, degrees, by which images are tilted to either side; for quarter turns there is
    `turn`."""
    copy_paste: Fraction = 0.0
    """Share of images that get objects of another one pasted in (Ghiasi et al. 2021)."""
    colour: Fraction = 0.0
    """Strength of random changes of brightness, contrast, saturation and hue; 0: none."""
    blur: Fraction = 0.0
    """Share of images that are blurred, by a Gaussian of 0.4 to 1.6 pixels."""
    noise: Fraction = 0.0
    """Share of images that get Gaussian noise, of a deviation of 2 to 12 on the scale of 0 to 255."""
    jpeg: Fraction = 0.0
    """Share of images that go through a JPEG of quality 25 to 85."""

    @model_validator(mode="after")
    def _consistent(self) -> AugmentConfig:
        if (self.jitter is None) != (self.crop is None):
            missing = "crop" if self.crop is None else "jitter"
            raise ValueError(
                f"{missing} is missing: large-scale jitter needs both jitter=[0.1, 2.0] and crop=[1024, 1024]"
            )
        if self.jitter is not None and not 0.001 <= self.jitter[0] <= self.jitter[1] <= 16:
            raise ValueError(f"jitter is {list(self.jitter)}: write [smallest, largest] scale, 0.001 to 16")
        if self.jitter is None and not self.short_sides:
            raise ValueError("short_sides is empty: name at least one side in pixels")
        if self.jitter is None and max(self.short_sides) > self.long_side:
            raise ValueError(
                f"short_sides has {max(self.short_sides)}, which is above long_side, {self.long_side}: raise "
                "long_side"
            )
        if self.mosaic and not self.mosaic_grids:
            raise ValueError("mosaic_grids is empty: name at least one number of images per side")
        return self

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of a mosaic, pixels."""
        side = max(self.short_sides, default=0)
        return self.mosaic_canvas or self.crop or (side, side)


class TilesConfig(Section):
    """Large images are trained on in overlapping tiles; those that fit into one stay whole."""

    side: Side = 1024
    """Height and width of a tile, pixels."""
    overlap: int = Field(128, ge=0, le=16_384)
    """Pixels that neighbours share, at least: as large as most objects, so that some tile shows all of
    each."""
    visible: Fraction = 0.3
    """A tile's object is one of which it shows at least this share of what the best tile shows; others are
    ignored."""
    empty: Fraction = 0.2
    """Share of a cut image's tiles without an object that are trained on."""
    val: bool = True
    """Evaluate on all tiles; false: on whole images."""
    cache_gb: float = Field(20.0, ge=0)
    """Gigabytes of decoded images that are kept on disk, at most."""

    @model_validator(mode="after")
    def _advances(self) -> TilesConfig:
        if self.overlap >= self.side:
            raise ValueError(f"overlap must be below side, {self.side}")
        return self


class DataConfig(Section):
    """How images and labels are read, chosen and packed."""

    classes: list[str] = []
    """Classes of the labels to learn or evaluate, by name; empty: all of them."""
    other_classes: Literal["background", "ignore"] = "background"
    """With `classes`: objects of the others are background, or regions where nothing is learned and nothing
    counted."""
    crowds: Literal["ignore", "objects"] = "ignore"
    """Annotations with `iscrowd` 1: regions to ignore, or objects like others, which tools mean that write
    1 for every mask drawn with a brush."""
    augment: AugmentConfig = AugmentConfig()
    """What training does to an image."""
    tiles: TilesConfig | None = None
    """How large images are cut; null: they are not."""
    mask_side: int = Field(112, gt=0, le=1024)
    """Ground-truth masks are kept as bitmaps of this side, pixels, over the object's box."""
    repeat_threshold: float | None = Field(None, gt=0, le=1)
    """Images with a class that fewer than this share of the images have are repeated (LVIS, Gupta et al.
    2019: 0.001)."""
    value_percentiles: tuple[float, float] | None = None
    """Samples of more than 8 bits: the percentiles of the data between which `model.input.value_range` is
    laid; null: all values of their bit depth."""
    val_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the images that is kept to evaluate on where there is no val split; null: none is."""
    empty: Literal["keep", "drop"] = "keep"
    """Training images without an object: kept, they are negatives."""
    backgrounds: Annotated[int, Field(ge=32)] | None = None
    """The largest part of a training image without an object is a negative too, where both of its sides have
    so many pixels; null: none."""
    workers: int = Field(2, ge=0, le=1024)
    """Processes that read and prepare images; 0: the training does it itself."""

    @model_validator(mode="after")
    def _backgrounds(self) -> DataConfig:
        if self.backgrounds is not None and self.tiles is not None:
            raise ValueError(
                "backgrounds and tiles: tiles without an object are negatives (tiles.empty); set one to null"
            )
        return self

    @model_validator(mode="after")
    def _percentiles(self) -> DataConfig:
        if self.value_percentiles is not None:
            low, high = self.value_percentiles
            if not 0 <= low < high <= 100:
                raise ValueError(f"value_percentiles is [{low}, {high}]: write [lower, upper], 0 to 100")
        return self
