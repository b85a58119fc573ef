"""The models and recipes inside the package."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass
class ShippedModel:
    name: str
    backbone: str
    finds: str  # boxes, masks, keypoints
    classes: list[str]
    megabytes: float


def shipped_models() -> list[ShippedModel]:
    """The models under weights/shipped, in order of name."""
    folder = Path(__file__).parent / "shipped"
    return [_read_model(path) for path in sorted(folder.glob("*/config.json"))]


def shipped_recipes() -> dict[str, str]:
    """Name of each shipped recipe and the first sentence of its opening comment."""
    folder = Path(__file__).parents[1] / "recipes"
    return {path.stem: _opening_comment(path) for path in sorted(folder.glob("*.yaml"))}


def _read_model(path: Path) -> ShippedModel:
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings = settings.get("model", settings)
    finds = ["boxes"]
    if settings.get("mask_head"):
        finds.append("masks")
    if settings.get("keypoint_head"):
        finds.append(f"{len(settings['keypoints']['names'])} keypoints")
    size = sum(file.stat().st_size for file in path.parent.glob("*.safetensors"))
    return ShippedModel(
        name=path.parent.name,
        backbone=settings["backbone"]["kind"],
        finds=", ".join(finds),
        classes=settings["classes"],
        megabytes=size / 1e6,
    )


def _opening_comment(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    first = text.lstrip().splitlines()[0] if text.strip() else ""
    if first.startswith("#"):
        return first.lstrip("# ").split(". ")[0].split(": ")[0].strip()
    settings = yaml.safe_load(text) or {}
    return str(settings.get("model", {}).get("backbone", {}).get("kind", ""))
