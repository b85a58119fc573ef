"""Verbs and options as other tools call them, each with the one that does it here."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from maskrcnn.errors import UserError

VERBS = {
    "predict": "detect infer inference segment pose track run",
    "evaluate": "eval val validate validation test score benchmark",
    "train": "fit finetune fine-tune tune learn",
    "check": "validate-data lint verify inspect analyze analyse stats",
    "samples": "visualize visualise show browse preview",
    "convert": "import",
    "models": "list zoo hub download",
    "serve": "server api http web app deploy",
    "env": "info version-info collect-env doctor checks",
    "train DATA --run FOLDER --resume": "resume",
    "export WEIGHTS --to openvino --int8": "quantize quantise",
    "--version": "version",
    "--help": "help usage",
    "--install-completion": "completion",
}
CONFIDENCE = "--conf --confidence --threshold --score-thr --min-score --confidence-threshold"
IN_THE_MODEL = {
    "test.nms_iou in the config.json of a model's folder": "--iou --iou-thres --nms --nms-iou",
    "test.detections in the config.json of a model's folder": "--max-det --max-detections",
    "input.short_side in the config.json of a model's folder": "--imgsz --img-size --image-size",
}
OPTIONS = {
    "train": {
        "--set train.epochs=N": "--epochs --num-epochs --max-epochs",
        "--set train.batch=N": "--batch --batch-size",
        "--set train.lr=X": "--lr --lr0 --learning-rate",
        "--set train.seed=N": "--seed",
        "--set data.workers=N": "--workers --num-workers",
        "--set train.init=MODEL": "--weights --pretrained --checkpoint --model --init",
        "--set model.input.short_side=N": "--imgsz --img-size --image-size",
        "--set model.backbone.freeze=N": "--freeze",
        "--run FOLDER": "--out --output --output-dir --work-dir --project --name --save-dir",
        "--recipe NAME": "--config --cfg --config-file",
        "maskrcnn launch --processes N train": "--gpus --num-gpus --nproc",
    },
    "predict": {
        **IN_THE_MODEL,
        "--score X": CONFIDENCE,
        "--save yolo": "--save-txt",
        "--save overlay": "--save-img",
        "--no-overlay": "--nosave --no-save",
        "--compile --bf16": "--half --fp16 --amp",
        "--out FOLDER": "--output --output-dir --save-dir --project --name",
        "the first word, WEIGHTS": "--weights --model --checkpoint",
        "the words after WEIGHTS": "--source --input --image --images --folder",
    },
    "evaluate": {
        **IN_THE_MODEL,
        "--score X": CONFIDENCE,
        "the first word, WEIGHTS": "--weights --model --checkpoint",
        "the second word, DATA": "--data --dataset --annotations --labels",
        "--batch N": "--batch-size",
        "--json FILE": "--out --output --save-json",
    },
    "export": {
        "--to openvino|onnx|torch": "--format --include --target",
        "--out FOLDER": "--output --output-dir",
    },
}


def our_option(verb: str, name: str) -> str | None:
    """What does here what another tool's option `name` of this verb does."""
    ours = (option for option, others in OPTIONS.get(verb, {}).items() if name in others.split())
    return next(ours, None)


class Verbs(TyperGroup):
    """Our verbs; another tool's verb is answered by ours."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name.

        Raises:
            UserError: it is another tool's name of one of ours.
        """
        command = super().get_command(ctx, cmd_name)
        if command is None and not ctx.resilient_parsing:
            for ours, others in VERBS.items():
                if cmd_name.lower() in others.split():
                    raise UserError(f"{cmd_name}: here that is maskrcnn {ours}; see maskrcnn --help")
        return command
