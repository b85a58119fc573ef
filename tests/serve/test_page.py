"""The page in headless Chromium, as a person uses it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from browser import PROGRAM, Page, browser
from PIL import Image
from pycocotools import mask as coco_mask
from service_thread import Served, encoded, pixels, served
from small import small_model

from maskrcnn.runtime.torch_engine import TorchEngine

needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium")
SKELETON = {"names": ["a", "b", "c"], "flip": [0, 2, 1], "sigmas": [0.05] * 3, "skeleton": [(0, 1), (1, 2)]}
TOKEN = "0123456789abcdef"


class Tab(NamedTuple):
    page: Page
    service: Served
    folder: Path


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "=a.png").write_bytes(encoded(pixels()))
    (folder / "b.tif").write_bytes(encoded(pixels(seed=1), "TIFF"))
    (folder / "c.jpg").write_bytes(b"no image")
    runner = TorchEngine(
        small_model(input={"short_side": 96, "long_side": 128, "divisor": 32}, keypoints=SKELETON)
    )
    with (
        served(lambda: {"small": runner}, token=TOKEN.encode(), loopback=False) as service,
        browser(folder / "profile") as page,
    ):
        page.look(1280, 800)
        page.open(f"http://127.0.0.1:{service.port}/")
        page.until("!$('token-form').hidden")
        page.do(f"$('token').value = '{TOKEN}'; $('token-form').requestSubmit()")
        page.until("models.length === 1")
        page.choose("#files", folder / "=a.png")
        page.until("current !== null")
        page.do("$('score').value = 0.05; refresh()")
        yield Tab(page, service, folder)


def test_nothing_comes_from_elsewhere() -> None:
    page = files("maskrcnn.serve").joinpath("page.html").read_text(encoding="utf-8")
    assert not re.findall(
        r"""(?:src|href)=["'](?!data:)|@import|url\(|https?://|\bon\w+=["']|\bstyle=""", page
    )


@needs_browser
def test_masks_in_the_browser_are_those_of_the_service(tab: Tab) -> None:
    page, service, folder = tab
    answer = service.predict(
        (folder / "=a.png").read_bytes(), "?score=0.05", Authorization=f"Bearer {TOKEN}"
    ).json
    shown = page.do(
        "current.answer.objects.map(one => ({...one, mask: one.mask && {...one.mask, bits: [...one.mask.bits]}}))"
    )
    assert len(shown) == len(answer["objects"]) > 1
    for one, other in zip(shown, answer["objects"], strict=True):
        whole = coco_mask.decode(other["segmentation"])
        drawn = np.zeros_like(whole)
        if one["mask"]:
            left, top, width, height = (one["mask"][name] for name in ("left", "top", "width", "height"))
            drawn[top : top + height, left : left + width] = np.reshape(one["mask"]["bits"], (height, width))
        assert (drawn == whole).all()
    rows = page.do("[...$('rows').children].map(row => row.innerText)")
    assert len(rows) == len(shown) and "cat" in " ".join(rows) + "dog"


@needs_browser
def test_score_classes_and_layers(tab: Tab) -> None:
    page = tab.page
    everything = page.do("visible().length")
    page.do("$('score').value = 1; $('score').oninput()")
    assert page.do("visible().length + $('rows').children.length") == 0
    page.do("$('score').value = 0.05; $('score').oninput()")
    box = "document.querySelector('#classes input')"
    name = page.do(f"{box}.dataset.name")
    page.do(f"{box}.click()")
    assert page.do(f"visible().every(one => one.category_name !== '{name}')")
    assert page.do(f"{box}.checked === false && document.activeElement === {box}")
    page.do(f"{box}.click()")
    assert page.do("visible().length") == everything
    sum_of = "[...$('canvas').getContext('2d').getImageData(0, 0, 128, 96).data].reduce((a, b) => a + b)"
    sums = [page.do(sum_of)]
    for layer in ("masks", "boxes", "points", "names"):
        page.do(f"$('{layer}').click()")
        sums.append(page.do(sum_of))
    assert len(set(sums)) > 3  # objects may have no sure point
    assert sums[-1] == int(pixels().sum(dtype=np.int64)) + 255 * 96 * 128  # nothing but the image
    for layer in ("masks", "boxes", "points", "names"):
        page.do(f"$('{layer}').click()")


@needs_browser
def test_hovering_tells_more(tab: Tab) -> None:
    page = tab.page
    page.do(
        """(() => { const one = visible().find(each => each.mask), {left, top, width, bits} = one.mask, at = bits.indexOf(1);
        const place = $('canvas').getBoundingClientRect(), scale = place.width / 128;
        $('canvas').onmousemove({clientX: place.left + (left + at % width + 0.5) * scale,
          clientY: place.top + (top + Math.floor(at / width) + 0.5) * scale}); })()"""
    )
    assert re.search(r"\d+: (cat|dog), \d.*%, [\d,]+ px, .*keypoints", page.do("$('tip').textContent"))
    assert page.do("!$('tip').hidden && lit.line.classList.contains('on')")
    page.do("$('canvas').onmouseleave()")
    assert page.do("$('tip').hidden && lit === null")


@needs_browser
def test_downloads(tab: Tab) -> None:
    page = tab.page
    coco = page.do("coco()")
    assert coco["images"] == [{"id": 1, "file_name": "=a.png", "width": 128, "height": 96}]
    assert len(coco["annotations"]) == page.do("visible().length")
    assert {one["category_id"] for one in coco["annotations"]} == {one["id"] for one in coco["categories"]}
    assert coco_mask.area(coco["annotations"][0]["segmentation"]) == coco["annotations"][0]["area"]
    lines = page.do("csv()").splitlines()
    assert len(lines) == 1 + len(coco["annotations"]) and lines[1].startswith('"\'=a.png",1,"')
    assert page.do("new Promise(done => $('canvas').toBlob(blob => done(blob.type)))") == "image/png"


@needs_browser
def test_keys_and_a_screen_reader(tab: Tab) -> None:
    page = tab.page
    page.do("$('model').focus()")
    seen = []
    for _ in range(7):
        page.key("Tab")
        seen.append(page.do("document.activeElement.id"))
    assert seen == ["choose", "camera", "score", "masks", "boxes", "points", "names"]
    page.do("$('score').focus()")
    before = page.do("$('score').value")
    page.key("ArrowRight")
    assert float(page.do("$('score').value")) > float(before)
    page.do("$('score').value = 0.05; refresh(); document.querySelector('#rows button').focus()")
    assert page.do("lit === visible()[0]")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    }
    unnamed = [
        role for role, name in named if role in ("button", "checkbox", "slider", "combobox") and not name
    ]
    assert not unnamed
    assert any(role in ("image", "img") and "=a.png: " in name for role, name in named)
    assert any(role == "columnheader" and name == "score" for role, name in named)


@needs_browser
def test_odd_files_and_the_camera(tab: Tab) -> None:
    page, folder = tab.page, tab.folder
    page.choose("#files", folder / "b.tif", folder / "c.jpg")
    page.until("$('status').textContent.startsWith('c.jpg: image: not')")
    assert page.do("images.length === 2 && current.name === 'b.tif' && $('strip').children.length === 2")
    page.do("$('camera').click()")
    page.until("stream !== null && !$('video').hidden")
    page.do("$('camera').click()")
    page.until("images.length === 3")
    assert page.do("stream === null && current.name.startsWith('camera') && current.answer.width > 0")
    page.do("show(images[0])")


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_is_cut_off(tab: Tab, tmp_path: Path, dark: bool) -> None:
    page = tab.page
    page.look(420, 900, dark)
    try:
        assert page.do("document.documentElement.scrollWidth <= 420")
        page.shoot(tmp_path / "phone.png")
        red, green, blue = np.asarray(Image.open(tmp_path / "phone.png").convert("RGB"))[2, 2].tolist()
        assert (max(red, green, blue) < 60) == dark
        ratio = page.do(
            """(() => { const light = text => { const [r, g, b] = text.match(/\\d+/g).map(v => (v / 255) ** 2.2);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05; };
            const style = getComputedStyle($('status')), card = getComputedStyle(document.querySelector('section'));
            const [a, b] = [light(style.color), light(card.backgroundColor)]; return Math.max(a, b) / Math.min(a, b); })()"""
        )
        assert ratio >= 4.5  # WCAG 2.2, 1.4.3
    finally:
        page.look(1280, 800)


@needs_browser
def test_the_policy_blocks_nothing_of_ours_and_all_else(tab: Tab) -> None:
    page = tab.page
    assert [line for line in page.console if "Content Security Policy" in line or "exception" in line] == []
    blocked = page.do(
        "new Promise(done => { addEventListener('securitypolicyviolation', event => done(event.violatedDirective));"
        " document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'})); })"
    )
    assert blocked.startswith("script-src") and page.do("window.ran === undefined")
    assert json.loads(page.do("JSON.stringify(Object.keys(localStorage))")) == []
