"""Where on Earth the pixels of a GeoTIFF lie, by rasterio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maskrcnn.errors import ImageError
from maskrcnn.images.multichannel import as_image_error, is_tiff, open_tiff
from maskrcnn.images.quiet import ignore_warnings_of

TAGS = (33550, 33922, 34264, 34735)  # pixel scale, tie points, transformation, keys of the reference system

MOST = 1e100  # no coordinate on Earth


@dataclass(frozen=True)
class Georeference:
    """An affine map from pixels to a coordinate reference system."""

    transform: tuple[float, float, float, float, float, float]  # a, b, c, d, e, f: X = a x + b y + c
    crs: str | None  # as "EPSG:32632", or WKT

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Coordinates of a place in the image, pixels from its upper left corner."""
        a, b, c, d, e, f = self.transform
        return a * x + b * y + c, d * x + e * y + f


def read_georeference(path: Path) -> Georeference | None:
    """The georeference of an image file; None where it has none, or one of numbers such as NaN.

    Raises:
        ImageError: it has one and rasterio is not installed, or is damaged.
    """
    if not is_tiff(path):
        return None
    try:
        import rasterio
    except ImportError:
        with open_tiff(path) as tiff, as_image_error(path):
            if not any(tag in tiff.pages[0].tags for tag in TAGS):
                return None
        reason = "a GeoTIFF, for whose coordinates rasterio is not installed"
        raise ImageError(path, reason, "pip install 'maskrcnn[geo]'") from None
    ignore_warnings_of("rasterio")
    # GTiff alone, and nothing of what lies beside it: another format may name files and addresses
    with as_image_error(path), rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"):
        with rasterio.open(path.absolute(), driver="GTiff") as opened:
            if opened.crs is None and opened.transform.is_identity:
                return None
            if not all(abs(number) < MOST for number in tuple(opened.transform)[:6]):
                return None
            return Georeference(tuple(opened.transform)[:6], opened.crs and opened.crs.to_string())
