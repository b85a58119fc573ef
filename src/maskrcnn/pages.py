"""Our pages: each one file that loads nothing, in the style of page.html; every name in them is escaped."""

from __future__ import annotations

import base64
from pathlib import Path

from maskrcnn.files import write_text


def write_page(path: Path, template: str, **values: object) -> None:
    """Writes a page.

    Args:
        template: its file in the package, which extends page.html.
        values: what the template names, `title` among them.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("maskrcnn", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    write_text(path, environment.get_template(template).render(values))


def as_base64(file: Path | bytes) -> str:
    """A file, or what one holds, as text for a page."""
    return base64.b64encode(file.read_bytes() if isinstance(file, Path) else file).decode("ascii")
