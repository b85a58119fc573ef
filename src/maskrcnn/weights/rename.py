"""Names of tensors from one library's habit to another's, by tables of patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable

from maskrcnn.errors import UserError
from maskrcnn.model.backbone.resnet import RESNETS

# a pattern for the beginning of a name and what it becomes; {n} there is the number n + 1, <n> the number n -
# 1
Rules = list[tuple[str, str]]


def rename(name: str, rules: Rules, default: str | None = None) -> str:
    """`name` by the first rule whose pattern it begins with.

    Raises:
        UserError: there is no such rule and no `default`.
    """
    for pattern, replacement in rules:
        found = re.match(pattern, name)
        if found:
            begin = found.expand(replacement)
            begin = re.sub(r"\{(\d+)\}", lambda m: str(int(m[1]) + 1), begin)
            begin = re.sub(r"<(\d+)>", lambda m: str(int(m[1]) - 1), begin)
            return begin + name[found.end() :]
    if default is None:
        raise UserError(f"the tensor {name} has no counterpart in that library")
    return default


def count_names(names: Iterable[str], pattern: str) -> int:
    """How many of the names a pattern matches whole."""
    return sum(re.fullmatch(pattern, name) is not None for name in names)


def backbone_kind(depth: int, inputs_per_group: int, width: int) -> str:
    """Our name of a ResNet or ResNeXt, by the first 3x3 convolution: its inputs per group and its outputs.

    Raises:
        UserError: none that we have.
    """
    groups = width // inputs_per_group
    form = (depth, groups, inputs_per_group)
    kind = next((kind for kind, known in RESNETS.items() if known == form), None)
    if kind is None:
        raise UserError(
            f"a backbone of {depth} layers, {groups} groups of {inputs_per_group}: there is none here"
        )
    return kind
