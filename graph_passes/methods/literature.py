"""What the literature says of methods: to be confirmed or contradicted by measuring."""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """A claim about two methods: of the first, held against the other."""

    method: str
    other: str
    claim: str


# Of DeepLIFT, by surveys of attribution methods.
SIMILAR = Pair(
    "deeplift",
    "integrated-gradients",
    "DeepLIFT and Integrated Gradients produce very similar results",
)
EFFICIENT = Pair(
    "deeplift", "integrated-gradients", "DeepLIFT is usually preferable for its efficiency"
)
# Of Grad-CAM, by its paper (Selvaraju et al. 2017) and surveys after it.
DISCRIMINATIVE = "grad-cam"
LESS_DISCRIMINATIVE = ("integrated-gradients", "deeplift")
DISCRIMINATES = "Grad-CAM is class-discriminative, the others are not"
