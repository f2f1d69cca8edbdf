"""The card of a model that has none, guessed from its input's shape and type."""

from __future__ import annotations

from collections.abc import Sequence

from .. import InvalidInputError
from .card import CHOICES, ModelCard
from .text import counted

DEFAULT_SIDE = 224


def assume_card(
    shape: Sequence[int | str | None] | None,
    dtype_name: str,
    labels: Sequence[str] | None = None,
) -> ModelCard:
    """Guess the card of a model that has none; `card.assumed` says what was guessed.

    shape: the input's declared shape; a str, None or a number below 1 is a size that is not known.
    dtype_name: the input's element type as numpy names it ("float32", "uint8" ...).

    Raises InvalidInputError when the input is no image: rank other than 4, or not 1 or 3 channels.
    """
    dims = [d if isinstance(d, int) and d > 0 else None for d in shape or ()]
    layout = ""
    if len(dims) == 4:
        layout = "NCHW" if dims[1] in (1, 3) else "NHWC" if dims[3] in (1, 3) else ""
    if not layout or dtype_name not in CHOICES["dtype"]:
        described = "unknown" if shape is None else f"[{', '.join(map(_dim_text, shape))}]"
        raise InvalidInputError(
            "expected a model with an image input, [N, 1 or 3, H, W] or [N, H, W, 1 or 3], but its "
            f"shape is {described} ({dtype_name}); arrays can be explained from .npy files, or "
            "through the Python API"
        )
    height, width = dims[layout.index("H")], dims[layout.index("W")]
    count = dims[layout.index("C")]
    channels = "RGB" if count == 3 else "GRAY"
    assumed = [f"layout {layout} with {counted(count, 'channel')} ({channels})"]
    if height is None or width is None:
        text = f"{height or DEFAULT_SIDE} x {width or DEFAULT_SIDE}"
        assumed.append(f"size {text} (height x width), because the model does not fix it")
    is_float = dtype_name.startswith("float")
    resize, crop_fraction = "stretch", 1.0
    scale, mean, std = (1.0,), (0.0,), (1.0,)
    if is_float and channels == "RGB" and layout == "NCHW":
        resize, crop_fraction = "crop", 0.875
        scale, mean, std = (1 / 255,), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        assumed.append("pixels / 255, then ImageNet mean and standard deviation")
    elif is_float:
        scale = (1 / 255,)
        assumed.append("pixels / 255")
    elif dtype_name == "int8":
        mean = (128.0,)
        assumed.append("pixels - 128")
    else:
        assumed.append("pixels 0 to 255 as they are")
    cut = "centre crop 0.875" if resize == "crop" else "the whole image stretched to the size"
    assumed.append(f"{cut}, bilinear")
    return ModelCard(
        size=(height or DEFAULT_SIDE, width or DEFAULT_SIDE),
        resize=resize,
        layout=layout,
        channels=channels,
        scale=scale,
        mean=mean,
        std=std,
        crop_fraction=crop_fraction,
        dtype=dtype_name,
        labels=None if labels is None else tuple(labels),
        assumed=tuple(assumed),
    )


def _dim_text(dim: int | str | None) -> str:
    return "?" if dim is None or dim == "" or (isinstance(dim, int) and dim < 0) else str(dim)
