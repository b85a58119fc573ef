"""Names of classes as people type them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable


def names_alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that a person may have meant as one: Cat and cat, traffic_light and traffic light."""
    first: dict[str, str] = {}
    plain = [(re.sub(r"[\s_-]", "", unicodedata.normalize("NFKC", name).casefold()), name) for name in names]
    return [(first[key], name) for key, name in plain if first.setdefault(key, name) != name]
