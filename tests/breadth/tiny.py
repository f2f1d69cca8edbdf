"""Tiny networks of transformers' architectures, their configurations made by hand."""

# An optional group.
# pyright: reportMissingImports=false
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from breadth.network import Network, Wrapper
from breadth.tiny_dense import MAPS, SETS
from breadth.tiny_images import IMAGES, TOKENS
from breadth.tiny_sequences import AUDIO, SERIES, TEXT, VIDEOS
from breadth.weights import randomise


class Architecture(NamedTuple):
    """How one network is made and called.

    Attributes:
        model: the name of a class of transformers.
        config: the name of its configuration's class.
        options: of the configuration; a pair (class name, options) becomes a nested one.
        shape: of the input, [1, ...].
        argument: the name of the input.
        output: the name of the output that holds the score.
    """

    model: str
    config: str
    options: dict[str, Any]
    shape: tuple[int, ...]
    argument: str
    output: str

    @property
    def is_image(self) -> bool:
        return self.argument in ("pixel_values", "inputs") and len(self.shape) == 4


def _group(
    rows: dict[str, tuple], shape: tuple, argument: str, output: str
) -> dict[str, Architecture]:
    """Rows of a table, each (model, config, options[, what differs from the group])."""
    found = {}
    for name, (model, config, options, *other) in rows.items():
        usual = {"shape": shape, "argument": argument, "output": output}
        found[name] = Architecture(model, config, options, **(usual | dict(*other)))
    return found


_PIXELS, _EMBEDS = "pixel_values", "inputs_embeds"
ARCHITECTURES: dict[str, Architecture] = {
    **_group(IMAGES, (1, 3, 64, 64), _PIXELS, "logits"),
    **_group(TOKENS, (1, 3, 64, 64), _PIXELS, "pooler_output"),
    **_group(MAPS, (1, 3, 64, 64), _PIXELS, "logits"),
    **_group(SETS, (1, 3, 64, 64), _PIXELS, "logits"),
    **_group(VIDEOS, (1, 2, 3, 32, 32), _PIXELS, "logits"),
    **_group(AUDIO, (1, 800), "input_values", "logits"),
    **_group(TEXT, (1, 12, 32), _EMBEDS, "logits"),
    **_group(SERIES, (1, 32, 2), "past_values", "prediction_outputs"),
}


def build(name: str) -> Network:
    """The network of that name with random weights."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    made = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = _config(made.config, made.options)
    network = getattr(transformers, made.model)(config).eval()
    example = torch.randn(made.shape, generator=torch.Generator().manual_seed(1))
    wrapper = Wrapper(network, _caller(made))
    randomise(wrapper, example)
    return Network(wrapper, example, _liveliest(wrapper, example), made.is_image, note=made.model)


def _liveliest(module: torch.nn.Module, x: torch.Tensor) -> Any:
    """The score that differs most from the one at zeros: a ReLU may end in zeros alone."""
    with torch.no_grad():
        apart = (module(x) - module(torch.zeros_like(x))).abs()[0]
    index = np.unravel_index(int(apart.argmax()), apart.shape)
    return int(index[0]) if len(index) == 1 else tuple(map(int, index))


def _config(name: str, options: dict[str, Any]) -> Any:
    nested = {
        key: _config(*value) if isinstance(value, tuple) and isinstance(value[-1], dict) else value
        for key, value in options.items()
    }
    return getattr(transformers, name)(**nested)


def _caller(made: Architecture) -> Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]:
    def call(network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        given = {made.argument: x}
        if made.model == "ViTMAEModel":
            # Which patches are hidden is drawn by lot where it is not told.
            given["noise"] = torch.linspace(0, 1, 16) + 0 * x[:, 0, 0, :1]
        return getattr(network(**given, return_dict=True), made.output)

    return call
