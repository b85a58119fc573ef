"""Turns a finished run into a shipped model: half-precision weights, config and card under
src/maskrcnn/weights/shipped.

    python tools/ship.py RUN NAME VAL_DATA --commit COMMIT [--limit "one line"]...

The figures on the card are measured here, on the half-precision weights as they will be loaded.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml

from maskrcnn.config.load import load_config
from maskrcnn.evaluate.coco import evaluate
from maskrcnn.evaluate.truth import KIND_NAMES
from maskrcnn.labels.open import open_dataset
from maskrcnn.train.log import read_metrics
from maskrcnn.weights.load import load_model
from maskrcnn.weights.store import WEIGHTS, save_model

SHIPPED = Path(__file__).parents[1] / "src" / "maskrcnn" / "weights" / "shipped"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("val")
    parser.add_argument("--limit", action="append", default=[], help="a line for the card's limits")
    parser.add_argument("--commit", required=True, help="of the code that trained it")
    parser.add_argument("--data", default="", help="a line on what the images are and their licence")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        help="a test-time setting, as in input.short_side=768",
    )
    args = parser.parse_args()

    folder = SHIPPED / args.name
    model = load_model(args.run)
    settings = [f"model.{setting}" for setting in args.settings]
    model.config = load_config({"model": model.config.model_dump()}, settings).model
    args.limit += [f"Changed after the training, for the test only: `{setting}`." for setting in settings]
    save_model(model, folder, half=True)
    scores = evaluate(load_model(folder), open_dataset(args.val, "val")).kinds
    card = write_card(args.run, args.name, scores, args.data, args.limit, args.commit)
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "figures.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    print(card, f"\n{(folder / WEIGHTS).stat().st_size / 1e6:.2f} MB in {folder}")


def write_card(
    run: Path,
    name: str,
    scores: dict[str, dict[str, float | None]],
    data: str,
    limits: list[str],
    commit: str,
) -> str:
    """The card of a shipped model: what it was trained on, how, what it reaches, what it cannot do."""
    labels = json.loads((run / "data.json").read_text(encoding="utf-8"))
    train = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["train"]
    evaluations = [e for e in read_metrics(run / "metrics.jsonl") if e["kind"] == "evaluation"]
    lines = [
        f"# {name}",
        "",
        f"Trained on {labels['train']['images']} images (labels' digest `{labels['train']['digest'][:16]}`), "
        f"evaluated on {labels['val']['images']} others. {data}",
        "",
        f"Recipe: `recipes/{name}.yaml`; command: "
        f"`{(run / 'command.txt').read_text(encoding='utf-8').splitlines()[-1]}`.",
        f"{train['epochs']:g} epochs of {train['optimizer']}, batch {train['batch']}, {train['precision']}, "
        f"commit `{commit}`.",
        "",
        "| on the val split | AP | AP50 | AP75 |",
        "| --- | --- | --- | --- |",
    ]
    for kind, numbers in scores.items():
        row = " | ".join("-" if numbers[k] is None else f"{numbers[k]:.1f}" for k in ("AP", "AP50", "AP75"))
        lines.append(f"| {KIND_NAMES[kind]} | {row} |")
    if evaluations:
        lines += ["", "While it was trained (percent, at the end of each evaluated epoch):", ""]
    for e in evaluations:
        figures = ", ".join(
            f"{KIND_NAMES[k]} AP {v['AP']:.1f}" for k, v in e["scores"].items() if v["AP"] is not None
        )
        lines.append(f"- epoch {e['epoch']:.1f}: {figures}")
    lines += ["", "Limits:", "", *(f"- {limit}" for limit in limits), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
