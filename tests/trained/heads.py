"""Each head: trained, written as its exporter writes it, and what PyTorch finds with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dense import CRNN, UNet
from .drawing import LETTERS, LINE, NAMES, SIDE, Picture, line, shapes
from .measuring import Head, Oracle
from .parts import overlaps, train, write
from .queries import Listed, Queries
from .yolo import METADATA, V5, V8, EndToEnd, Heads, Suppressed

IMAGE = torch.zeros(1, 3, SIDE, SIDE)
# Steps of training, one to three minutes on two weak cores: enough for 97 in 100.
STEPS = {
    **{"v5": 2000, "v8": 1800, "end-to-end": 2400},
    **{"rt-detr": 2500, "u-net": 800, "crnn": 1500},
}


def boxes_of(net: Any) -> Callable[[Picture, Tensor], list[Oracle]]:
    """The strongest box by PyTorch, and whether a shape of its class was drawn there."""

    def oracle(picture: Picture, x: Tensor) -> list[Oracle]:
        with torch.no_grad():
            found: Heads = net.heads(x)
        place, label = divmod(int(found.chances()[0].argmax()), len(NAMES))
        box = found.boxes[0, place]
        near = overlaps(box, torch.tensor(picture.boxes).float())
        k = int(near.argmax())
        right = bool(near[k] > 0.5) and int(picture.labels[k]) == label
        x0, y0, x1, y1 = (int(n) for n in picture.boxes[k])
        region = np.zeros((SIDE, SIDE), bool)
        region[y0:y1, x0:x1] = True

        def score(x: Tensor) -> Tensor:
            return net.heads(x).logits[0, place, label]

        return [Oracle(score, NAMES[label], right, region, box=box.numpy())]

    return oracle


def regions_of(net: UNet) -> Callable[[Picture, Tensor], list[Oracle]]:
    """Each class that was drawn, where the network predicts it."""

    def oracle(picture: Picture, x: Tensor) -> list[Oracle]:
        with torch.no_grad():
            predicted = net(x)[0].argmax(0).numpy()
        several = []
        for label in sorted(set(picture.labels.tolist())):
            true = picture.masks[picture.labels == label].any(axis=0)
            own = predicted == 1 + label
            right = (own & true).sum() > 0.5 * (own | true).sum()

            def score(x: Tensor, label: int = label, own: np.ndarray = own) -> Tensor:
                return net(x)[0, 1 + label][torch.tensor(own)].sum()

            if own.any():
                name = NAMES[label]
                several.append(Oracle(score, name, bool(right), true, name))
        return several

    return oracle


def texts_of(net: CRNN) -> Callable[[Picture, Tensor], list[Oracle]]:
    """The whole text, and each character at its surest step, as CTC's best path has them."""

    def oracle(picture: Picture, x: Tensor) -> list[Oracle]:
        with torch.no_grad():
            logits = net.logits(x)[0]
        best, steps = logits.argmax(-1).tolist(), []
        for step, label in enumerate(best):
            if label and (step == 0 or best[step - 1] != label):
                steps.append(step)
            elif label and logits[step, label] > logits[steps[-1], label]:
                steps[-1] = step
        read = [best[step] - 1 for step in steps]
        right = read == picture.labels.tolist()

        def asked(own: list[int], region: np.ndarray | None, target: str | None) -> Oracle:
            labels = [best[step] for step in own]
            text = "".join(LETTERS[k - 1] for k in labels)
            return Oracle(
                lambda x: net.logits(x)[0, own, labels].sum(), text, right, region, target
            )

        several = [asked(steps, None, None)] if steps else []
        if right:
            one = len(steps) // 2
            several.append(asked([steps[one]], _columns(picture, one), f"char{one + 1}"))
        return several

    return oracle


def _columns(picture: Picture, place: int) -> np.ndarray:
    """A character's columns, at any height."""
    region = np.zeros(LINE, bool)
    region[:, picture.masks[place].any(axis=0)] = True
    return region


def v5(folder: Path) -> list[Head]:
    net = _trained(V5, shapes, "v5", folder)
    path = folder / "yolov5.onnx"
    metadata = {"stride": 16, "names": dict(enumerate(NAMES))}
    write(net, path, (IMAGE,), ["images"], ["output0"], metadata)
    return [Head("YOLOv5-like: anchors, objectness", path, shapes, boxes_of(net))]


def v8(folder: Path) -> list[Head]:
    """The same weights as raw head and with `nms=True`."""
    net = _trained(V8, shapes, "v8", folder)
    raw, inside = folder / "yolov8.onnx", folder / "yolov8_nms.onnx"
    args = {"batch": 1, "half": False, "dynamic": False, "simplify": True, "opset": 17}
    for path, module, nms in ((raw, net, False), (inside, Suppressed(net), True)):
        metadata = {**METADATA, "args": {**args, "nms": nms}}
        write(module, path, (IMAGE,), ["images"], ["output0"], metadata)
    return [
        Head("YOLOv8-like: class logits, DFL", raw, shapes, boxes_of(net)),
        Head("the same, NonMaxSuppression inside", inside, shapes, boxes_of(net)),
    ]


def end_to_end(folder: Path) -> list[Head]:
    net = _trained(lambda: V8(one_to_one=True), shapes, "end-to-end", folder)
    path = folder / "yolov10.onnx"
    metadata = {**METADATA, "end2end": True}
    write(EndToEnd(net), path, (IMAGE,), ["images"], ["output0"], metadata)
    return [Head("YOLOv10-like: TopK inside", path, shapes, boxes_of(net))]


def queries(folder: Path) -> list[Head]:
    """The same weights as Ultralytics exports them and as the authors of RT-DETR do."""
    net = _trained(Queries, shapes, "rt-detr", folder, rate=1e-3)
    theirs, own = folder / "rtdetr_ultralytics.onnx", folder / "rtdetr.onnx"
    described = {**METADATA, "description": "Ultralytics RT-DETR-l model"}
    write(net, theirs, (IMAGE,), ["images"], ["output0"], described)
    sizes = torch.tensor([[SIDE, SIDE]])
    names = ["images", "orig_target_sizes"], ["labels", "boxes", "scores"]
    write(Listed(net), own, (IMAGE, sizes), *names, {})
    card = {"layout": "NCHW", "channels": "RGB", "resize": "stretch", "labels": list(NAMES)}
    card |= {"size": [SIDE, SIDE], "scale": 1 / 255, "mean": [0.0] * 3, "std": [1.0] * 3}
    oracle = boxes_of(net)
    return [
        Head("RT-DETR-like: queries by TopK", theirs, shapes, oracle, 0.6),
        Head("the same, its boxes by TopK, too", own, shapes, oracle, 0.6, card),
    ]


def u_net(folder: Path) -> list[Head]:
    """Beside the file what a Hugging Face export has there."""
    net, place = _trained(UNet, shapes, "u-net", folder, size=8), folder / "unet"
    place.mkdir(exist_ok=True)
    write(net, place / "model.onnx", (IMAGE,), ["pixel_values"], ["logits"], {})
    names = {str(k): name for k, name in enumerate(("background", *NAMES))}
    _as_json(place / "config.json", id2label=names, model_type="segformer")
    _as_json(
        place / "preprocessor_config.json",
        **{"do_resize": True, "size": {"height": SIDE, "width": SIDE}, "resample": 2},
        **{"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": False},
        image_processor_type="SegformerImageProcessor",
    )
    return [Head("U-Net: regions", place / "model.onnx", shapes, regions_of(net))]


def _as_json(path: Path, **content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def crnn(folder: Path) -> list[Head]:
    """As RapidOCR's files say it: `character`, a line each."""
    net, path = _trained(CRNN, line, "crnn", folder, size=32), folder / "crnn.onnx"
    metadata = {"character": "\n".join(LETTERS)}
    write(net, path, (torch.zeros(1, 3, *LINE),), ["x"], ["softmax_0.tmp_0"], metadata)
    return [Head("CRNN: text, and its middle character", path, line, texts_of(net))]


def _trained(make: Callable[[], Any], draw: Any, name: str, folder: Path, **options: Any) -> Any:
    """A trained network; its weights are kept in the folder, and read where they lie there."""
    torch.manual_seed(0)
    net, kept = make(), folder / f"{name}.pt"
    if kept.exists():
        net.load_state_dict(torch.load(kept))
        return net.eval()
    loss = train(net, net.loss, draw, STEPS[name], **options)
    print(f"{name}: {STEPS[name]} steps, loss {loss:.3f}", flush=True)
    torch.save(net.state_dict(), kept)
    return net


HEADS = {"v5": v5, "v8": v8, "end-to-end": end_to_end, "rt-detr": queries}
HEADS |= {"u-net": u_net, "crnn": crnn}
