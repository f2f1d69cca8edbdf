"""Grad-CAM of architectures that nobody here wrote, against a hand-written reshape_transform.

    python tests/grad_cam_architectures.py [--forms all] [NAME ...]

For each of timm's and transformers' architectures below, with random weights: the layer that
onnxplain finds by itself, and the largest difference of its map, in parts of the largest value,
from pytorch-grad-cam's at the layer that its users name by hand, in float64 (its own code where it
is installed, else its few lines here). Needs timm and transformers.
"""

# An optional group.
# pyright: reportMissingImports=false
from __future__ import annotations

import argparse
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from support import networks
from torch import nn

import onnxplain

CLASSES = 7
TOLERANCE = 1e-3
FORMS: dict[str, dict[str, Any]] = {
    "torchscript17-dynamic": dict(exporter="torchscript", opset=17, dynamic_axes={0: "batch"}),
    "torchscript14": dict(exporter="torchscript", opset=14),
    "dynamo": dict(exporter="dynamo"),
    "dynamo-dynamic": dict(exporter="dynamo", dynamic_axes={0: "batch"}),
}
Transform = Callable[[torch.Tensor], torch.Tensor]


class Case(NamedTuple):
    """How to build a network, the layer by hand, and its output as [N, C, h, w]."""

    build: Callable[[], nn.Module]
    layer: Callable[[Any], nn.Module]
    transform: Transform
    size: int = 64
    only_dynamo: bool = False  # the older exporter knows no form for one of its operators


def tokens(height: int, width: int, before: int = 0) -> Transform:
    """[N, before + h w, C] -> [N, C, h, w]."""

    def transform(x: torch.Tensor) -> torch.Tensor:
        x = x[:, before:]
        return x.reshape(len(x), height, width, -1).permute(0, 3, 1, 2)

    return transform


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """[N, h, w, C] -> [N, C, h, w]."""
    return x.permute(0, 3, 1, 2)


def as_it_is(x: torch.Tensor) -> torch.Tensor:
    """[N, C, h, w]."""
    return x


def unrolled(x: torch.Tensor) -> torch.Tensor:
    """[N, 2 x 2 units of one token each, C] of Hiera's last stage."""
    side = round(x.shape[1] ** 0.5)
    return x.reshape(len(x), side, side, -1).permute(0, 3, 1, 2)


def timm_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)

    return build


class Logits(nn.Module):
    """A classifier of transformers as a function of its pixels."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=x).logits


def transformers_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **options)
        config._attn_implementation = "eager"
        return Logits(getattr(transformers, f"{name}ForImageClassification")(config))

    return build


SMALL = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64)
VIT = dict(img_size=64, depth=3, embed_dim=48, num_heads=3)
CASES: dict[str, Case] = {
    "vit": Case(
        timm_model("vit_tiny_patch16_224", **VIT), lambda m: m.blocks[-1].norm1, tokens(4, 4, 1)
    ),
    "vit, mean": Case(
        timm_model("vit_tiny_patch16_224", global_pool="avg", **VIT),
        lambda m: m.blocks[-1],
        tokens(4, 4, 1),
    ),
    "deit, distilled": Case(
        timm_model("deit_tiny_distilled_patch16_224", **VIT),
        lambda m: m.blocks[-1].norm1,
        tokens(4, 4, 2),
    ),
    "dinov2, registers": Case(
        timm_model("vit_small_patch14_reg4_dinov2", **VIT | dict(img_size=70)),
        lambda m: m.blocks[-1].norm1,
        tokens(5, 5, 5),
        70,
    ),
    "eva02": Case(
        timm_model("eva02_tiny_patch14_224", **VIT | dict(img_size=70)),
        lambda m: m.blocks[-1],
        tokens(5, 5, 1),
        70,
        only_dynamo=True,
    ),
    "beit": Case(
        timm_model("beit_base_patch16_224", **VIT), lambda m: m.blocks[-1], tokens(4, 4, 1)
    ),
    "cait": Case(
        timm_model("cait_xxs24_224", **VIT), lambda m: m.blocks[-1], tokens(4, 4)
    ),
    "xcit": Case(
        timm_model("xcit_nano_12_p16_224", img_size=64, depth=3),
        lambda m: m.cls_attn_blocks[-1].norm1,
        tokens(4, 4, 1),
    ),
    "swin": Case(
        timm_model(
            "swin_tiny_patch4_window7_224", img_size=64, window_size=4, embed_dim=24,
            depths=(2, 2, 2, 2), num_heads=(2, 2, 4, 4),
        ),
        lambda m: m.norm,
        channels_last,
    ),
    "swin, two stages": Case(
        timm_model(
            "swin_tiny_patch4_window7_224", img_size=64, window_size=4, embed_dim=24,
            depths=(2, 2), num_heads=(2, 2),
        ),
        lambda m: m.norm,
        channels_last,
    ),
    "swinv2": Case(
        timm_model(
            "swinv2_tiny_window8_256", img_size=64, window_size=4, embed_dim=24,
            depths=(2, 2, 2), num_heads=(2, 2, 4),
        ),
        lambda m: m.norm,
        channels_last,
    ),
    "convnext": Case(timm_model("convnext_atto"), lambda m: m.stages[-1], as_it_is),
    "levit": Case(
        timm_model("levit_128s", img_size=224), lambda m: m.stages[-1], tokens(4, 4), 224
    ),
    "pvt v2": Case(timm_model("pvt_v2_b0"), lambda m: m.stages[-1], as_it_is, 96),
    "mobilevit": Case(timm_model("mobilevit_xxs"), lambda m: m.final_conv, as_it_is),
    "mobilevit v2": Case(timm_model("mobilevitv2_050"), lambda m: m.stages[-1], as_it_is),
    "poolformer": Case(timm_model("poolformer_s12"), lambda m: m.stages[-1], as_it_is),
    "hiera": Case(
        timm_model("hiera_tiny_224", img_size=(64, 64)), lambda m: m.blocks[-1], unrolled
    ),
    "mixer": Case(
        timm_model("mixer_s16_224", img_size=64),
        lambda m: m.norm,
        tokens(4, 4),
    ),
    "maxvit": Case(
        timm_model("maxvit_tiny_rw_224", img_size=64, depths=(1, 1, 1, 1)),
        lambda m: m.norm,
        as_it_is,
    ),
    "vit (transformers)": Case(
        transformers_model("ViT", image_size=64, patch_size=16, **SMALL),
        lambda m: m.model.vit.layers[-1].layernorm_before
        if hasattr(m.model.vit, "layers")
        else m.model.vit.encoder.layer[-1].layernorm_before,
        tokens(4, 4, 1),
    ),
    "dinov2 with registers (transformers)": Case(
        transformers_model("Dinov2WithRegisters", image_size=64, patch_size=16, **SMALL),
        lambda m: m.model.dinov2_with_registers.layernorm,
        tokens(4, 4, 5),
        only_dynamo=True,
    ),
    "swin (transformers)": Case(
        transformers_model(
            "Swin", image_size=64, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 2],
            window_size=4,
        ),
        lambda m: m.model.swin.layernorm,
        tokens(8, 8),
    ),
    "pvt v2 (transformers)": Case(
        transformers_model("PvtV2", image_size=64, depths=[1, 1, 1, 1]),
        lambda m: m.model.pvt_v2,
        as_it_is,
    ),
    "levit (transformers)": Case(
        transformers_model("Levit", hidden_sizes=[32, 48, 64], num_attention_heads=[2, 3, 4],
                           depths=[2, 2, 2], key_dim=[8, 8, 8], image_size=128),
        lambda m: m.model.levit.encoder,
        tokens(2, 2),
        128,
    ),
    "mobilevit (transformers)": Case(
        transformers_model("MobileViT", image_size=64, hidden_sizes=[24, 32, 40]),
        lambda m: m.model.mobilevit.conv_1x1_exp,
        as_it_is,
    ),
    "poolformer (transformers)": Case(
        transformers_model("PoolFormer", depths=[1, 1, 2, 1], hidden_sizes=[16, 24, 32, 48]),
        lambda m: m.model.norm,
        as_it_is,
    ),
    "segformer (transformers)": Case(
        transformers_model("Segformer", depths=[1, 1, 1, 1]),
        lambda m: m.model.segformer,
        as_it_is,
    ),
    "siglip, read by a query": Case(
        timm_model("vit_base_patch16_siglip_224", **VIT), lambda m: m.norm, tokens(4, 4)
    ),
    "volo": Case(
        timm_model("volo_d1_224", img_size=64),
        lambda m: m.norm,
        tokens(4, 4, 1),
        only_dynamo=True,
    ),
}  # fmt: skip


def randomise(build: Callable[[], nn.Module]) -> nn.Module:
    """Random biases, scales and tokens, too (zeros and ones hide mistakes), at each call alike."""
    torch.manual_seed(0)
    module = build()
    parts = "token", "pos_embed", "head", "classifier"
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.uniform_(0.6, 1.4)
            elif parameter.ndim == 1 or any(part in name for part in parts):
                parameter.normal_(0, 0.3)
    return module.eval()


def oracle(
    module: nn.Module, layer: nn.Module, transform: Transform, x: torch.Tensor, targets: list[int]
) -> torch.Tensor:
    """pytorch-grad-cam's map before it is scaled and resized, [N, h, w]."""
    try:
        return _by_pytorch_grad_cam(module, layer, transform, x, targets)
    except ImportError:
        kept: list[torch.Tensor] = []
        handle = layer.register_forward_hook(lambda *given: kept.append(_first(given[-1])))
        logits = module(x)
        handle.remove()
        score = logits[range(len(targets)), targets].sum()
        (slope,) = torch.autograd.grad(score, kept)
        alpha = transform(slope).mean((2, 3), keepdim=True)
        return (alpha * transform(kept[0])).sum(1).clamp(min=0).detach()


def _by_pytorch_grad_cam(module, layer, transform, x, targets) -> torch.Tensor:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def first(output: Any) -> torch.Tensor:
        return transform(_first(output))

    chosen = [ClassifierOutputTarget(target) for target in targets]
    wrapped = _FirstOf(layer)
    with GradCAM(module, [wrapped], reshape_transform=first) as cam:
        logits = cam.activations_and_grads(x)
        sum(t(row) for t, row in zip(chosen, logits, strict=True)).backward()
        values = cam.activations_and_grads.activations[0].cpu().numpy()
        slopes = cam.activations_and_grads.gradients[0].cpu().numpy()
        found = cam.get_cam_image(x, layer, chosen, values, slopes)
    return torch.from_numpy(np.maximum(found, 0))


def _FirstOf(layer: nn.Module) -> Any:
    """The layer, whose hook is given the tensor of what it returns (transformers: a tuple)."""

    def register(hook: Callable) -> Any:
        return layer.register_forward_hook(lambda m, given, out: hook(m, given, _first(out)))

    return types.SimpleNamespace(register_forward_hook=register)


def _first(output: Any) -> torch.Tensor:
    return output if isinstance(output, torch.Tensor) else output[0]


def check(name: str, form: str) -> tuple[str, float, bool]:
    """What onnxplain chose and why, its difference from the oracle, and whether that is small."""
    case = CASES[name]
    module, again = (randomise(case.build) for _ in range(2))
    x = networks.images([2, 3, case.size, case.size])
    model = networks.export(module, x, **FORMS[form])
    explainer = onnxplain.Explainer(model, "grad-cam", providers="cpu", threads=1)
    module64 = again.double().requires_grad_(False)
    target, small = 0, torch.zeros(2, 1, 1)
    while target < CLASSES and small.amax((1, 2)).min() == 0:  # a map of nothing agrees with all
        x64 = x.double().requires_grad_()
        small = oracle(module64, case.layer(module64), case.transform, x64, [target, target])
        target += 1
    target -= 1
    size = [case.size, case.size]
    expected = nn.functional.interpolate(small[:, None], size, mode="bilinear")[:, 0].numpy()
    found = explainer(x.numpy(), [target, target]).attribution
    error = float(np.abs(found - expected).max() / expected.max())
    reason = onnxplain.inspect(model).feature_map_reason
    said = f"{explainer.feature_map}: {reason}"
    return said, error, error < TOLERANCE and "most of the network" not in said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(CASES))
    parser.add_argument("--forms", default="torchscript17-dynamic", choices=["all", *FORMS])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    failed = 0
    for name in chosen.names:
        forms = [*FORMS] if chosen.forms == "all" else [chosen.forms]
        if CASES[name].only_dynamo:
            forms = [form for form in FORMS if form.startswith("dynamo") and chosen.forms == "all"]
            forms = forms or ["dynamo"]
        for form in forms:
            began = time.perf_counter()
            try:
                said, error, good = check(name, form)
            except Exception as refused:
                said, error, good = f"{type(refused).__name__}: {refused}", float("nan"), False
            seconds = time.perf_counter() - began
            failed += not good
            said = " ".join(said.split())[:300]
            mark = "ok " if good else "BAD"
            print(f"{mark} {name:26} {form:22} {error:9.2e} {seconds:5.1f} s  {said}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
