"""Make an onnxruntime session whose results depend on the graph and the inputs alone."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from fedtier.errors import ConfigError
from fedtier.model.layout import Vector

_GROW_BY_WHAT_IS_ASKED = 1  # of an arena; its default doubles what it holds

# onnxruntime's errors share no base but Exception.
ONNXRUNTIME_ERRORS = (
    native.EPFail,
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NoModel,
    native.NoSuchFile,
    native.NotImplemented,
    native.RuntimeException,
)
"""What onnxruntime raises where it does not open a graph, or does not run it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error of onnxruntime, or of Python, says."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "allocate memory" in text or "bad_alloc" in text


def make_session(
    model: bytes | Path, *, threads: int = 1, external: Mapping[str, Vector] | None = None
) -> onnxruntime.InferenceSession:
    """Open a graph with the options every node of a federation uses.

    Args:
        model: A serialised graph, or the path of one whose external data lies beside it.
        threads: More than one may be faster; the order of sums, and so the last bits, then differ.
        external: Parameters by name that a serialised graph looks for in a file; they must stay as
            they are for as long as the session is open.

    Raises:
        ConfigError: If onnxruntime refuses the graph.
    """
    options = session_options(threads=threads)
    if external is not None:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in external.values()]
        options.add_external_initializers(list(external), values)
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(
            source, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except ONNXRUNTIME_ERRORS as error:
        what = "a compiled graph" if isinstance(model, bytes) else str(model)
        raise ConfigError(
            f"onnxruntime {onnxruntime.__version__} cannot open {what}: {error}. "
            "Compile the artefact anew, or install the onnxruntime it was compiled for."
        ) from error


def session_options(*, threads: int = 1) -> onnxruntime.SessionOptions:
    """The options every node of a federation uses.

    One thread, the default, and sequential execution fix the order of every sum. The optimisation
    level is pinned since other levels fuse differently and so round differently. The memory
    pattern is off because it costs a fifth of the peak and saves no time; the arena stays on
    because without it steps are a quarter slower. All sessions of a process share one, so a graph
    that is opened after another was closed takes the memory that one had.

    Args:
        threads: See ``make_session``.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = True
    options.log_severity_level = 3  # errors only; warnings are about the graph's author
    _share_one_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


@functools.cache
def _share_one_arena() -> None:
    """Give this process the arena that its sessions share; once, before the first of them."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    growth = onnxruntime.OrtArenaCfg({"arena_extend_strategy": _GROW_BY_WHAT_IS_ASKED})
    onnxruntime.create_and_register_allocator(memory, growth)
