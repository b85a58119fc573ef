"""What cheap cameras and repeated saving do to an image: blur, noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np

from maskrcnn.config.data import AugmentConfig

BLUR = (0.4, 1.6)  # standard deviation of the blur, pixels
NOISE = (2.0, 12.0)  # standard deviation of the noise, of 255
QUALITY = (25, 85)  # of the JPEG


def corrupt(pixels: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """The image uint8 (H, W, C), each of the three done to the share of images that the settings say."""
    if config.blur and rng.random() < config.blur:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(*BLUR)).reshape(pixels.shape)
    if config.noise and rng.random() < config.noise:
        grain = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(*NOISE))
        pixels = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    if config.jpeg and rng.random() < config.jpeg:
        pixels = _through_jpeg(pixels, int(rng.integers(QUALITY[0], QUALITY[1] + 1)))
    return pixels


def _through_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Compressed and back; channels beyond three are compressed by themselves."""
    parts = [pixels] if pixels.shape[2] == 3 else [pixels[..., c] for c in range(pixels.shape[2])]
    back = []
    for part in parts:
        # OpenCV takes BGR; which colour is called blue only matters to how finely its difference is kept
        done, buffer = cv2.imencode(
            ".jpg", part[..., ::-1] if part.ndim == 3 else part, (cv2.IMWRITE_JPEG_QUALITY, quality)
        )
        assert done, "an image of 8 bits can be compressed"
        decoded = cv2.imdecode(buffer, cv2.IMREAD_COLOR if part.ndim == 3 else cv2.IMREAD_GRAYSCALE)
        assert decoded is not None, "what was just compressed can be read"
        back.append(decoded[..., ::-1] if part.ndim == 3 else decoded[..., None])
    return np.ascontiguousarray(np.concatenate(back, axis=2))
