"""What a GPU would run, as far as a machine without one can tell: on PyTorch's "meta" device, where a tensor
has a shape and no values, so that nothing can be asked of it, with RoIAlign and NMS sent to their kernels.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd

sys.path.insert(0, str(Path(__file__).parent))
from small import noise_images, objects, small_model

from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.ops import nms, roi_align

pytest.importorskip("triton")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[MaskRCNN]:
    from maskrcnn.ops.roi_align_triton import roi_align_triton

    monkeypatch.setattr(roi_align, "_triton", lambda features, boxes: roi_align_triton)
    monkeypatch.setattr(nms, "_on_triton", lambda boxes: True)
    torch._dynamo.reset()
    yield small_model().to("meta")
    torch._dynamo.reset()


def test_a_training_step_is_two_graphs_that_ask_nothing_and_hold_nothing_of_the_host(model: MaskRCNN) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    backend = aot_autograd(fw_compiler=keep, bw_compiler=keep)
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend=backend)
    images, sizes = noise_images()
    losses = compiled(images.to("meta"), sizes.to("meta"), objects().to("meta"))
    torch.stack(list(losses.values())).sum().backward()

    assert len(graphs) == 2  # forward and backward
    nodes = [node for graph in graphs for node in graph.graph.nodes]
    targets = {str(node.target).removesuffix(".default") for node in nodes}
    assert {
        "maskrcnn.nms_triton",
        "maskrcnn.roi_align_triton",
        "maskrcnn.roi_align_triton_backward",
    } <= targets
    # each would be a copy from the host in every step, and inductor makes no CUDA graph of what has one
    held = {node.name for node in nodes if node.op == "get_attr"}
    values = ((node.name, node.meta.get("val")) for node in nodes)
    assert not held | {name for name, value in values if isinstance(value, Tensor) and not value.is_meta}
    asking = ("while_loop", "_local_scalar_dense", "nonzero", "unique", "masked_select")
    assert not [target for target in targets if any(word in target for word in asking)]


def test_detection_asks_nothing_even_without_a_graph(model: MaskRCNN) -> None:
    images, sizes = noise_images()
    with torch.no_grad():
        found = model.eval().detect(images.to("meta"), sizes.to("meta"))
    assert found.boxes.shape == (2, 6, 4) and found.masks is not None and found.masks.is_meta


def test_a_training_step_asks_nothing_even_without_a_graph(model: MaskRCNN) -> None:
    images, sizes = noise_images()
    losses = model.losses(images.to("meta"), sizes.to("meta"), objects().to("meta"))
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
