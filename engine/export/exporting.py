"""The explaining graph as one file, for any ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import onnx

from ... import InvalidInputError
from ...graph_passes import finish
from ...graph_passes.finish.compact import compact, quantised_of
from ...graph_passes.finish.static import declared
from ...graph_passes.finish.target_input import fixed_target
from ...graph_passes.graph.limits import within
from ..files.model_files import write_model
from .calibration import calibrated, calibrated_facts
from .exported_together import check_together, joined
from .facts import write_facts
from .held_targets import Held, Strongest, held_target, with_strongest
from .opsets import check_loads, in_opset
from .photo_files import photo_size, with_photos
from .static_files import check_static, in_fixed_shapes, whole_static

if TYPE_CHECKING:
    from .exportable import Exportable


class Exporting:
    """What an explainer does with files."""

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        baseline_input: bool = False,
        target: Any = None,
        also: Sequence[Exportable] = (),
        preprocess: bool = False,
        picture: bool = False,
        opset: int | None = None,
        static: bool = False,
        calibrate: Any = None,
        image_size: Sequence[int] | None = None,
    ) -> onnx.ModelProto:
        """Write the explaining graph as one whole file that any ONNX Runtime runs.

        Its inputs are the model's and `target` (int64 [N]; -1 = top1), unless a target is given
        here; the baseline is embedded unless `baseline_input`. Of an embedding it takes `versus`,
        float32 [N, D], in place of `target`: what each is compared with. Its outputs are the
        model's, `attribution`, where the method owes a sum `delta`, and of Integrated Gradients to
        a tolerance `map_error`; both float32 [N]. Its metadata says what was explained and how.

        Args:
            path: to write.
            baseline_input: make the baseline an input of the file.
            target: "top1", a class, its label, or an index tuple, for every input: the file then
                has the model's own inputs. Of a detector "box1" or a label: the strongest box; such
                files return `explained_box`, [N, 4], or `explained_mask`, bool [N, H, W], too.
            also: explainers of the same model, input, output and score by other methods. The file
                then explains by all of them and runs the model once; its outputs are
                `attribution_<method>` and so on, with _ for what is no letter or digit.
            preprocess: take a photo, uint8 [H, W, 3] (RGB) of any size, as the input, and do as
                `Explainer.preprocess` does. The attribution is of the model's input, not of pixels.
            picture: return `picture`, too, uint8 [N, h, w, 3], at most 580 by 640: the overlay as
                `Explanation.picture` draws it, without texts.
            opset: of ONNX's operators. None: 21, or the model's own where that is newer.
            static: fix every length (an open batch is 1) and write loops out, for other runtimes.
            calibrate: photos as `explain` takes them, or an array [N, ...] as the model does: a
                static file of Integrated Gradients gets points that serve all of them.
            image_size: (height, width) of a static file's photos; None: of the model's input.

        Raises:
            InvalidInputError: it is the model's own file, or what no file can hold.
            UnsupportedModelError: the file cannot be written in that opset, or not as a static one.
            OSError: it cannot be written.

        Examples:
            >>> model = explainer.export("explained.onnx")
            >>> [value.name for value in model.graph.input]
            [..., 'target']
            >>> saliency = onnxplain.Explainer("digits.onnx", "saliency")
            >>> model = explainer.export("both.onnx", also=[saliency])
            >>> [value.name for value in model.graph.output][-1]
            'attribution_saliency'
        """
        own, more = cast("Exportable", self), {"preprocess": preprocess, "picture": picture}
        size = photo_size(own, static and preprocess, image_size)
        how = {**more, "static": static, "calibrate": calibrate, "opset": opset, "image_size": size}
        return _exported(own, path, baseline_input, target, also, **how)


def _exported(
    explainer: Exportable,
    path: str | os.PathLike[str],
    baseline_input: bool,
    target: Any,
    also: Sequence[Exportable],
    **more: Any,
) -> onnx.ModelProto:
    if explainer.exported is not explainer:
        if target is not None:
            raise InvalidInputError(
                "target: a file of an embedding compares with its input 'versus'; leave it out"
            )
        others = [one.exported for one in also]
        return explainer.exported.export(path, baseline_input=baseline_input, also=others, **more)
    index = None if target is None else held_target(target, explainer)
    explainers = [explainer, *also]
    if also:
        check_together(explainers)
    check_static(explainers, more)
    found = [_whole(one, baseline_input, index, more) for one in explainers]
    model, facts = found[0]
    if also:
        model, facts = joined(explainers, *zip(*found, strict=True))
    model = _for_runtime(explainer, model, more)
    write_facts(model, facts, explainer.card, explainer._file.metadata)
    onnx.checker.check_model(model)
    if more["opset"] is not None:
        check_loads(model)
    write_model(model, path, explainer._file.given)
    return model


def _for_runtime(
    explainer: Exportable, model: onnx.ModelProto, more: Mapping[str, Any]
) -> onnx.ModelProto:
    """The file in the opset that was asked for, small; where it is static with fixed lengths."""
    opset, file = more["opset"], explainer._file
    quantised = quantised_of(file.proto) if file.quantised else ()
    if not more["static"]:
        return compact(in_opset(model, opset), quantised)
    size = more["image_size"]
    model = in_fixed_shapes(explainer, model, size)
    # What is written in other operators has lengths of its own.
    older = in_opset(model, opset)
    fixed = model if older is model else in_fixed_shapes(explainer, older, size)
    return declared(compact(fixed, quantised, matrices=False))


def _whole(
    explainer: Exportable, baseline_input: bool, index: Held | None, more: Mapping[str, Any]
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """One method's model with baseline, target and photos inside where they are; its facts."""
    embedded = {} if baseline_input else explainer._default_baselines()
    of_page = more.get("of_page", False)
    facts = explainer._facts(baseline_input)
    calibration = None
    if more["calibrate"] is not None and explainer._default_plan.apart:
        of = None if index == -1 else index.text if isinstance(index, Strongest) else index
        calibration = calibrated(explainer, more["calibrate"], of)
    if more["static"]:
        whole = whole_static(explainer, calibration and calibration.points)
    else:
        whole = _scored(explainer) if of_page or isinstance(index, Strongest) else explainer.model
    if calibration is not None:
        facts |= calibrated_facts(explainer, in_fixed_shapes(explainer, whole), calibration)
    model = finish.embed_baselines(whole, embedded)
    if isinstance(index, Strongest):
        model = with_strongest(explainer, model, index)
        facts["target"] = index.text
    elif index is not None:
        model = fixed_target(model, explainer.subject, index)
        facts["target"] = "top1" if index == -1 else index
    preprocess, picture = bool(more["preprocess"]), bool(more["picture"])
    model = with_photos(explainer, model, preprocess, picture, ground=of_page)
    facts |= {name: True for name in ("preprocess", "picture", "static") if more[name]}
    return model, facts


def export_for_page(explainer: Exportable, path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Write the file that a page runs: a photo in, the overlay out.

    Beside what `Explainer.export` writes with `preprocess` and `picture` it returns the explained
    score, where the method's graph has it, and `view`: what the map is laid over.

    Raises:
        InvalidInputError: what `Explainer.export` raises.
    """
    how: dict[str, Any] = {"preprocess": True, "picture": True, "opset": None, "static": False}
    how |= {"calibrate": None, "image_size": None}
    return _exported(explainer, path, False, None, (), of_page=True, **how)


def _scored(explainer: Exportable) -> onnx.ModelProto:
    """`Explainer.model`, which also returns the explained score."""
    sizes = [len(values) for values in explainer._baselines.values()]
    with within(explainer._limits):
        several = sizes[0] if explainer._several else 0
        return explainer._default_plan.contract_model(several, scored=True)
