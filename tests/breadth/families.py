"""The smallest network of every family of timm: of each module of timm.models."""

# An optional group.
# pyright: reportMissingImports=false
from __future__ import annotations

import functools
import warnings

import timm
import torch

from breadth.network import Network
from breadth.weights import randomise

_CLASSES = 7
# Tried in order: small ones first, which yet leave a map of 3 x 3 behind five halvings.
_SIZES = (96, 128, 112, 160, 192, 224, 256)
# The smallest of these has 80 million parameters or more: with fewer blocks of each kind.
_FEWER = {
    "beit": {"depth": 3},
    "deepseek_vit": {"depth": 2},
    "gemma4_vit": {"depth": 2},
    "naflexvit": {"depth": 3},
    "qwen3_vit": {"depth": 2},
    "vision_transformer_sam": {"depth": 3, "global_attn_indexes": (1,)},
}


def families() -> list[str]:
    """Names of all families."""
    return sorted(name for name in timm.list_modules() if timm.list_models(module=name))


@functools.cache
def smallest(family: str) -> str:
    """The family's model with the fewest parameters; none of them is filled for that."""
    counts = {}
    for name in timm.list_models(module=family):
        with torch.device("meta"):
            counts[name] = sum(p.numel() for p in timm.create_model(name).parameters())
    return min(counts, key=lambda name: counts[name])


def build(family: str, name: str | None = None) -> Network:
    """The family's smallest model (or the one named), at the smallest size that it takes."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    name = name or smallest(family)
    module, size = _at_smallest_size(name, _FEWER.get(family, {}))
    example = torch.randn((1, 3, size, size), generator=torch.Generator().manual_seed(1))
    randomise(module, example)
    return Network(module, example, target=2, is_image=True, note=f"{name} {size}")


def _at_smallest_size(name: str, further: dict) -> tuple[torch.nn.Module, int]:
    own = timm.get_pretrained_cfg(name, allow_unregistered=True).input_size[-1]
    failures = []
    for size in dict.fromkeys([*(s for s in _SIZES if s < own), own]):
        # Networks of a fixed size take it as an argument; the others take any.
        for sized in ({"img_size": size}, {}):
            try:
                with torch.no_grad(), torch.device("meta"):
                    model = timm.create_model(name, num_classes=_CLASSES, **sized, **further)
                    model.eval()(torch.zeros(1, 3, size, size))
                model = timm.create_model(name, num_classes=_CLASSES, **sized, **further).eval()
                with torch.no_grad():
                    model(torch.zeros(1, 3, size, size))
                return model, size
            except Exception as error:
                failures.append(f"{size}: {error}")
    raise RuntimeError(f"{name} took no size: {failures[-1]}")
