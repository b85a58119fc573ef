"""`maskrcnn samples`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskrcnn.cli.common import (
    ClassAttribute,
    Data,
    Images,
    Recipe,
    Settings,
    SplitParts,
    choose_settings,
    label_data,
    progress_bar,
    recipe_for,
    say,
    tell_names_without_font,
    tell_repairs,
)
from maskrcnn.cli.outputs import check_outputs, files_of
from maskrcnn.shell import printable


def samples(
    data: Data,
    recipe: Recipe = None,
    set_: Settings = None,
    out: Annotated[Path, typer.Option(help="The image to write.")] = Path("samples.jpg"),
    images: Images = None,
    class_attribute: ClassAttribute = None,
    split_parts: SplitParts = False,
    count: Annotated[int, typer.Option(min=1, max=600, help="Number of samples to draw.")] = 16,
) -> None:
    """Draw training samples: augmented images with their labels."""
    check_outputs(out, kind="image")
    from maskrcnn.labels.match_classes import take_class
    from maskrcnn.labels.open import open_pair
    from maskrcnn.labels.options import LabelOptions
    from maskrcnn.train.sample_sheet import draw_sheet
    from maskrcnn.training_data.prepare import prepare_data

    source = recipe_for(data, recipe)
    options = LabelOptions(None, images, class_attribute, split_parts, data=label_data(source, set_))
    dataset, val = open_pair(data, options=options)
    check_outputs(out, kind="image", inputs=files_of(dataset, val))
    tell_repairs(dataset)
    config, _ = choose_settings(source, data, dataset, val, set_, options)
    dataset, lines = take_class(dataset, config.model.classes)
    say(*lines)
    with progress_bar("decoding large images") as progress:
        config, dataset, _, _ = prepare_data(config, dataset, progress=progress)
    tell_names_without_font(config.model.classes)
    from maskrcnn.images.write import save_image

    save_image(draw_sheet(dataset, config, count), out)
    print(printable(f"{count} training samples of {dataset.name}: {out}"))
