"""`maskrcnn models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskrcnn.shell import first_of

if TYPE_CHECKING:
    from rich.console import Console


def models() -> None:
    """List shipped models, recipes and published checkpoints."""
    from rich.console import Console
    from rich.table import Table

    from maskrcnn.weights.shipped_models import shipped_models, shipped_recipes

    console = Console()
    table = Table("model", "backbone", "finds", "classes", "MB", title="shipped models", title_justify="left")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True  # names to copy
    for model in shipped_models():
        names, size = first_of(model.classes, 5), f"{model.megabytes:.1f}"
        table.add_row(model.name, model.backbone, model.finds, names, size)
    recipes = Table("recipe", "what it trains", title="recipes", title_justify="left")
    for name, line in shipped_recipes().items():
        recipes.add_row(name, line)
    console.print(table, recipes)
    _print_published(console)
    console.print("maskrcnn predict MODEL IMAGE...     maskrcnn train DATA --recipe RECIPE", markup=False)


def _print_published(console: Console) -> None:
    """Other libraries' checkpoints, with the AP that their publishers state; as lines, since a table would
    cut names.
    """
    from maskrcnn.weights.published import published_checkpoints

    console.print(
        "published checkpoints, downloaded by name at the first use: box, mask, keypoint AP", highlight=False
    )
    for entry in published_checkpoints():
        figures = " ".join(f"{entry.published.get(kind, ''):>5}" for kind in ("box", "mask", "keypoint"))
        data = entry.data + (" trunk" if entry.kind == "trunk" else "")
        console.print(f"  {entry.name:<64} {figures}  {data}", highlight=False, soft_wrap=True)
