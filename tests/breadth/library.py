"""All networks of the table, by name."""

from __future__ import annotations

from breadth import families, tiny
from breadth.network import Network


def names() -> list[str]:
    """`timm/<family>` and `transformers/<architecture>`, the two in turn."""
    first = [f"timm/{family}" for family in families.families()]
    second = [f"transformers/{name}" for name in tiny.ARCHITECTURES]
    share = max(1, len(first) // max(1, len(second)))
    mixed = []
    while first or second:
        mixed += first[:share] + second[:1]
        first, second = first[share:], second[1:]
    return mixed


def build(name: str) -> Network:
    """The network of that name, filled with random weights.

    `timm/<family>:<model>` is another than the family's smallest, or saves looking for that.
    """
    library, _, short = name.partition("/")
    if library != "timm":
        return tiny.build(short)
    family, _, model = short.partition(":")
    return families.build(family, model or None)
