"""prepare: any exported model becomes one canonical dialect, so that rules stay small.

What the dialect is, `dialect` says as properties that a test checks. The order of the passes is
what the tuples below say; each changes what it is given and says whether it did.
"""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.logger import G_LOGGER

from ..graph.limits import hold
from ..graph.names import own_names
from .batch_normalization import fold_batch_normalization
from .census import census, check_activations
from .decompositions import decompose, decompose_other_domains
from .decompositions.quantisation import to_whole_floats
from .decompositions.specification import expand_functions
from .dialect import (
    DIALECT,
    canonical_opset,
    float32,
    no_batch_normalization,
    no_constants_to_fold,
    no_quantised_operators,
    pads_are_said,
    reductions_say_their_axes,
)
from .exact_windows import exact_windows
from .explicit_pads import explicit_pads
from .finite import check_finite
from .float32 import to_float32
from .folding import fold, spending
from .fuse_softmax import fuse_softmax
from .optionals import without_optionals
from .passes import Pass, run_passes
from .reading import (
    check_types,
    constants_to_initializers,
    convert_opset,
    imported,
    inline_functions,
    with_honest_shapes,
)
from .reduced_axes import reduced_axes
from .shapes import fold_sizes, infer_shapes
from .sparse import without_sparse
from .squeezes import say_squeezed_axes
from .training import refuse_random_dropout
from .unroll import unroll

G_LOGGER.severity = G_LOGGER.CRITICAL

# On the file's own message, of which they get a copy.
OF_THE_FILE = (
    Pass(inline_functions),
    Pass(without_sparse),
    Pass(check_finite),
    Pass(own_names),
    Pass(without_optionals),
    Pass(convert_opset),
    Pass(expand_functions),
    Pass(constants_to_initializers),
)
# What a loop's body held is there only once the loop is written out: what comes behind `unroll`
# meets it then, whatever kind of operator it is.
OF_THE_GRAPH = (
    Pass(check_activations, requires=(canonical_opset,)),
    Pass(refuse_random_dropout),
    Pass(fold, ensures=(no_constants_to_fold,)),
    Pass(say_squeezed_axes, reshapes=True),
    Pass(unroll, reshapes=True),
    Pass(to_whole_floats, reshapes=True, ensures=(no_quantised_operators,)),
    Pass(decompose_other_domains, reshapes=True),
    Pass(exact_windows, reshapes=True, repeats=True),
    Pass(fold, ensures=(no_constants_to_fold,)),
    # Behind what other domains' operators made, sizes may be known only now.
    Pass(unroll),
    Pass(to_float32, ensures=(float32,)),
    Pass(explicit_pads, ensures=(pads_are_said,)),
    Pass(reduced_axes, reshapes=True, ensures=(reductions_say_their_axes,)),
    Pass(fuse_softmax),
    Pass(decompose),
    Pass(fold_batch_normalization, ensures=(no_batch_normalization,)),
    Pass(fold),
    Pass(infer_shapes),
    Pass(fold_sizes, reshapes=True, repeats=True),
    Pass(say_squeezed_axes, reshapes=True),
    # What waited for a constant has it now, where it follows from sizes.
    Pass(decompose, reshapes=True),
    Pass(fold, reshapes=True),
    Pass(fold_sizes, reshapes=True, repeats=True),
    Pass(check_activations, ensures=DIALECT),
)


def prepare(model: onnx.ModelProto, *, checked: bool = False) -> gs.Graph:
    """The model in the canonical dialect, with the same inputs, outputs and scores.

    Args:
        model: of a file; it is left as it is.
        checked: whether each pass's promises are looked at, for tests.

    Raises:
        UnsupportedModelError: the model cannot be brought to opset 21, would become larger than the
            limits in force allow, or has weights that are not numbers.
    """
    census(model)
    with spending(model):
        copy = run_passes(with_honest_shapes(model), OF_THE_FILE, checked)
        graph = imported(copy)
        check_types(graph, model)
        graph = run_passes(graph, OF_THE_GRAPH, checked)
    hold("nodes", "the model's nodes, loops and decompositions written out", len(graph.nodes))
    return graph
