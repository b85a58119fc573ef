"""The models and recipes inside the package, as a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table


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


def print_models() -> None:
    console = Console()
    models = Table("model", "backbone", "finds", "classes", "MB", title="shipped models", title_justify="left")
    for model in shipped_models():
        names = ", ".join(model.classes[:5]) + (f" and {len(model.classes) - 5} more" if len(model.classes) > 5 else "")
        models.add_row(model.name, model.backbone, model.finds, names, f"{model.megabytes:.1f}")
    recipes = Table("recipe", "what it trains", title="recipes", title_justify="left")
    for name, line in shipped_recipes().items():
        recipes.add_row(name, line)
    console.print(models, recipes)
    _print_published(console)
    console.print("maskrcnn predict MODEL IMAGE...     maskrcnn train DATA --recipe RECIPE", markup=False)


def _print_published(console: Console) -> None:
    """Other libraries' checkpoints, with the AP that their publishers state; as lines, since a table would cut names."""
    from maskrcnn.weights.published import published_checkpoints

    console.print("published checkpoints, downloaded by name at the first use: box, mask, keypoint AP", highlight=False)
    for entry in published_checkpoints():
        figures = " ".join(f"{entry.published.get(kind, ''):>5}" for kind in ("box", "mask", "keypoint"))
        data = entry.data + (" trunk" if entry.kind == "trunk" else "")
        console.print(f"  {entry.name:<64} {figures}  {data}", highlight=False, soft_wrap=True)


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
