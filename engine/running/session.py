"""ONNX Runtime sessions: the only file that runs models."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import onnxruntime

from ... import InvalidInputError, OnnxplainError, UnsupportedModelError
from ...graph_passes.graph.limits import exceed, in_force
from ...graph_passes.graph.names import bodies_of
from ..files.model_files import serialised
from .divisions import guarded, is_division
from .installed import builds, without_cuda
from .process import BUILDING, Kept, in_child, leave_behind, share_arena, warn_once
from .stopwatch import phase

logger = logging.getLogger("onnxplain")

_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
    **{
        f"tensor({sign}int{bits})": np.dtype(f"{sign}int{bits}").type
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
# A tensor that stays in ONNX Runtime, on the provider's device.
Held = onnxruntime.OrtValue
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_SHORT_NAMES = {"cpu": [CPU], "cuda": [CUDA, CPU]}
# TensorFloat-32, ONNX Runtime's default on recent devices, keeps 10 bits of a product: attributions
# would be good to three digits.
_EXACT = {CUDA: {"use_tf32": "0"}}
# Sessions hold a model's weights each; a few serve a command that runs three methods over many
# images.
_MOST_CACHED = 8
_MOST_PLANNED, _MOST_SHAPED, _MOST_OPTIMISED = 2000, 3000, 50_000
_cache = Kept(_MOST_CACHED)
_alive: weakref.WeakSet[Session] = weakref.WeakSet()


class Session:
    """A loaded graph: `run` takes and returns named numpy arrays, from any thread.

    Attributes:
        outputs, inputs: names.
        provider: the ONNX Runtime provider that runs it.
        lost: whether the process was forked after it was opened. Its threads stayed in the parent,
            so that a run would wait for them for ever: it must be opened again.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        providers: Sequence[str],
        threads: int | None,
        optimised: bool = True,
        content: bytes | None = None,
    ):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        _let_others_run(options)
        _suit_long_graphs(options, model)
        if list(providers) == [CPU]:
            share_arena(options)
        if threads is not None:
            options.intra_op_num_threads = threads
        with phase("session"):
            safe = guarded(model)
            if content is None or safe is not model:
                content = serialised(safe)
            self._session = _opened(content, options, providers, optimised)
        self.outputs = [value.name for value in self._session.get_outputs()]
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.provider = self._session.get_providers()[0]
        self._device = "cuda" if self.provider == CUDA else "cpu"
        self._types = {value.name: value.type for value in self._session.get_inputs()}
        self.lost = False
        self._may_never_end = has_loops(model)
        _alive.add(self)

    def type_of(self, name: str) -> type[np.floating]:
        """The type of a floating-point input."""
        return np.float64 if self._types[name] == "tensor(double)" else np.float32

    def zeros(self) -> dict[str, np.ndarray]:
        """Zeros for every tensor among the inputs; a length that is not known is 1."""
        return {
            value.name: np.zeros([d if isinstance(d, int) else 1 for d in value.shape], kind)
            for value in self._session.get_inputs()
            if (kind := _NUMPY_TYPES.get(value.type)) is not None
        }

    def run(
        self, feeds: Mapping[str, np.ndarray | Held], names: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Outputs by name, for inputs by name; feeds that the graph does not take are left out.

        Raises:
            OnnxplainError: ONNX Runtime failed, with its reason in one line.
        """
        self._refuse_if_lost()
        wanted = list(names) if names is not None else self.outputs
        taken = {name: feeds[name] for name in self.inputs if name in feeds}
        if any(isinstance(value, Held) for value in taken.values()):
            held = self._bound(taken, wanted, "cpu")
            return {name: value.numpy() for name, value in held.items()}
        try:
            with phase("run"), self._ended() as options:
                values = self._session.run(wanted, taken, options)
        except OnnxplainError:
            raise
        except Exception as error:
            raise _failed(error) from error
        return dict(zip(wanted, values, strict=True))

    def hold(self, feeds: Mapping[str, np.ndarray | Held]) -> dict[str, Held]:
        """All outputs by name, left where the provider computes, to be fed to other sessions.

        Raises:
            OnnxplainError: ONNX Runtime failed, with its reason in one line.
        """
        taken = {name: feeds[name] for name in self.inputs if name in feeds}
        return self._bound(taken, self.outputs, self._device)

    def place(self, feeds: Mapping[str, np.ndarray | Held]) -> dict[str, np.ndarray | Held]:
        """What the graph takes of the feeds, moved to the provider's device once for many runs."""
        taken = {name: feeds[name] for name in self.inputs if name in feeds}
        if self._device == "cpu":
            return taken
        return {
            name: v if isinstance(v, Held) else Held.ortvalue_from_numpy(v, self._device, 0)
            for name, v in taken.items()
        }

    def cheap_to_see(self, run: int) -> bool:
        """Whether to fetch what a run left in ONNX Runtime: the CPU's, and few of a device's."""
        return self._device == "cpu" or run & (run - 1) == 0

    def _bound(
        self, feeds: Mapping[str, np.ndarray | Held], names: Sequence[str], device: str
    ) -> dict[str, Held]:
        self._refuse_if_lost()
        if not names:
            return {}
        try:
            binding = self._session.io_binding()
            for name, value in feeds.items():
                if isinstance(value, Held):
                    binding.bind_ortvalue_input(name, value)
                else:
                    binding.bind_cpu_input(name, value)
            for name in names:
                binding.bind_output(name, device)
            with phase("run"), self._ended() as options:
                self._session.run_with_iobinding(binding, options)
            return dict(zip(names, binding.get_outputs(), strict=True))
        except OnnxplainError:
            raise
        except Exception as error:
            raise _failed(error) from error

    @contextmanager
    def _ended(self) -> Iterator[onnxruntime.RunOptions | None]:
        """Options of a run that is ended after `loop_seconds` where a loop might never end it."""
        if not self._may_never_end:
            yield None
            return
        options, seconds = onnxruntime.RunOptions(), in_force().loop_seconds
        timer = threading.Timer(
            min(seconds, threading.TIMEOUT_MAX), setattr, (options, "terminate", True)
        )
        timer.daemon = True
        timer.start()
        try:
            yield options
        except Exception:
            if options.terminate:
                what = "seconds that the graph, which has a Loop, runs"
                exceed("loop_seconds", what, "more", seconds)
            raise
        finally:
            timer.cancel()

    def _refuse_if_lost(self) -> None:
        if self.lost:
            raise OnnxplainError("this session was opened before the process was forked")

    def lose(self) -> None:
        """In a forked child: never run it, nor let it end, which waits for its threads, too."""
        self.lost = True
        leave_behind(self._session)


def _opened(
    content: bytes,
    options: onnxruntime.SessionOptions,
    providers: Sequence[str],
    optimised: bool,
) -> onnxruntime.InferenceSession:
    """ONNX Runtime's session; without its optimiser where that makes of the graph what cannot run.

    It moves a Transpose over a linear Resize, and a Pad into a MaxPool, to where its own kernels
    refuse them.
    """
    chosen = [(name, _EXACT.get(name, {})) for name in providers]
    if optimised:
        try:
            return onnxruntime.InferenceSession(content, options, providers=chosen)
        except Exception as error:  # ONNX Runtime's own errors share no class
            logger.debug("ONNX Runtime's optimiser failed: %s", _one_line(error))
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(content, options, providers=chosen)
    except Exception as error:
        if is_division(str(error)):
            raise _failed(error) from error
        raise UnsupportedModelError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {_one_line(error)}"
        ) from error


def has_loops(model: onnx.ModelProto) -> bool:
    """Whether a Loop stands anywhere in a model."""
    waiting = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    while waiting:
        node = waiting.pop()
        if node.op_type == "Loop":
            return True
        for body in bodies_of(node):
            waiting.extend(body.node)
    return False


@in_child
def _after_fork() -> None:
    for session in list(_alive):
        session.lose()
    _cache.clear()


def _suit_long_graphs(options: onnxruntime.SessionOptions, model: onnx.ModelProto) -> None:
    """Leave out what takes ONNX Runtime longer than linear time, where a graph has many nodes.

    Planning buffers: each tensor is compared with all that are free, and those of unknown shape fit
    nowhere. An LSTM of 80 steps (4,000 nodes) loads in 11 s so, in 1.0 s without, and runs as fast;
    10,500 nodes of known shapes in 4.7 and 0.7 s, 37,500 in 89 and 3.9 s. The first run plans them
    again, 2.4 s of those 37,500. Optimising: 148,500 nodes load in 24 s, in 9 s without.
    """
    graph = model.graph
    shaped = {v.name for v in graph.value_info if v.type.tensor_type.HasField("shape")}
    names = [name for node in graph.node for name in node.output]
    unknown = sum(name not in shaped for name in names)
    planned = len(names) <= _MOST_SHAPED and unknown <= _MOST_PLANNED
    options.enable_mem_reuse = options.enable_mem_pattern = planned
    if len(names) > _MOST_OPTIMISED:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


def _let_others_run(options: onnxruntime.SessionOptions) -> None:
    """Stop a session's threads from spinning once it has nothing to do.

    They spin for a while after each run, to be quick at the next, and take cores from the session
    that runs by then: two sessions of EfficientNet-Lite0 in turn, on 2 cores, took 12 to 19 ms a
    run, and 6.3 ms with this; one alone takes 6.3 ms both ways, and 7.2 ms without any spinning.
    """
    options.add_session_config_entry("session.force_spinning_stop", "1")


def _failed(error: Exception) -> OnnxplainError:
    if is_division(str(error)):
        return UnsupportedModelError(
            "ONNX Runtime could not run the graph: it divides an integer by 0, or the least "
            "integer by -1, which has no result"
        )
    return OnnxplainError(f"ONNX Runtime could not run the graph: {_one_line(error)}")


def run_small(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A small model's outputs, by one thread of the CPU."""
    return open_session(model, [CPU], 1).run(feeds)


def open_session(
    model: onnx.ModelProto, providers: str | Sequence[str] | None = None, threads: int | None = None
) -> Session:
    """A session for the model, cached by its content, the providers and the number of threads.

    Args:
        model: the graph to run.
        providers: "cpu", "cuda", a list of ONNX Runtime's names, or None/"auto": CUDA where a
            device and its libraries are there, else the CPU.
        threads: threads inside one operator; None lets ONNX Runtime choose.

    Raises:
        InvalidInputError: an unknown provider.
        UnsupportedModelError: ONNX Runtime refuses the graph.
    """
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise InvalidInputError(f"threads must be a whole number of at least 1, got {threads!r}")
    chosen = resolve_providers(providers)
    content = serialised(model)
    key = (hashlib.sha256(content).digest(), tuple(chosen), threads)
    with BUILDING:
        return _cache.get(key, lambda: Session(model, chosen, threads, content=content))


def resolve_providers(providers: str | Sequence[str] | None) -> list[str]:
    """The providers to ask ONNX Runtime for.

    Where CUDA was asked for and is absent, the CPU, with one line of warning.
    """
    available = onnxruntime.get_available_providers()
    if providers is None or providers == "auto":
        usable = CUDA in available and cuda_problem() is None
        return _SHORT_NAMES["cuda"] if usable else [CPU]
    if isinstance(providers, str):
        providers = _SHORT_NAMES.get(providers.lower(), [providers])
    for name in providers:
        if name != CUDA and name not in available:
            raise InvalidInputError(
                f"unknown provider {name!r}: "
                f"expected auto, cpu, cuda or one of {', '.join(available)}"
            )
    if CUDA in providers:
        problem = cuda_problem()
        if problem is not None:
            warn_once(f"CUDA was asked for, but {problem}; using the CPU")
            providers = [name for name in providers if name != CUDA] or [CPU]
    return list(providers)


def available_providers() -> list[str]:
    """What this ONNX Runtime can run on, by its own names."""
    return onnxruntime.get_available_providers()


def cuda_problem() -> str | None:
    """Why CUDA cannot be used here; None where it can (its libraries are preloaded then)."""
    if CUDA not in available_providers():
        return without_cuda(builds())
    if _cuda_devices() == 0:
        return "no CUDA device was found"
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    return None


def _cuda_devices() -> int:
    """How many devices the CUDA driver reports; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
