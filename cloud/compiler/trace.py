"""Record what a torch module computes, forward and backward, as a graph of aten operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.func import functional_call
from torch.fx import traceback as fx_traceback
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from cloud.compiler.loss import loss_with_slope
from cloud.compiler.tensors import is_counter, tensors_of
from cloud.compiler.writes import without_writes
from fedtier.artefact.loss import Loss
from fedtier.artefact.masks import Mask
from fedtier.artefact.torch_dropout import MaskedDropout
from fedtier.errors import ConfigError

_META = "custom"  # the field of a node's ``meta`` that torch copies and leaves to its users
_MODULE = "fedtier_module"
_RESHAPES = ("view", "unsafe_view", "reshape", "squeeze", "unsqueeze", "alias", "clone", "detach")

Named = Mapping[str, torch.Tensor]
Decompositions = Mapping[Any, Callable[..., Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A recorded graph.

    Attributes:
        module: Placeholders are the module's parameters, its statistics and its constants, each in
            the order of ``ModuleTensors``, then the inputs.
    """

    module: fx.GraphModule


def module_of(node: fx.Node) -> str:
    """Which submodule was running when an operation was recorded; ``""`` outside of any."""
    return str(node.meta.get(_META, {}).get(_MODULE, ""))


def trace_forward(module: nn.Module, x: torch.Tensor, *, decompositions: Decompositions) -> Trace:
    """Record ``tensors, x -> logits`` in evaluation mode."""

    def forward(
        parameters: Named, statistics: Named, constants: Named, x: torch.Tensor
    ) -> torch.Tensor:
        everything = {**parameters, **statistics, **constants}
        logits: torch.Tensor = functional_call(module, everything, (x,))
        return logits

    with in_mode(module, training=False), torch.no_grad():
        return _record(module, forward, (x,), decompositions)


def last_operation(module: nn.Module, x: torch.Tensor) -> str:
    """The operation whose result is the module's output, such as ``softmax``; reshaped or not."""
    graph = trace_forward(module, x, decompositions={}).module.graph
    (output,) = [node for node in graph.nodes if node.op == "output"]
    (node,) = output.all_input_nodes
    while _operation(node) in _RESHAPES:
        node = node.all_input_nodes[0]
    return _operation(node)


def _operation(node: fx.Node) -> str:
    """``softmax`` of ``aten._softmax.default``; empty for an input."""
    name = str(node.target) if node.op == "call_function" else ""
    return name.removeprefix("aten.").partition(".")[0].strip("_")


def find_masks(module: nn.Module, x: torch.Tensor) -> tuple[Mask, ...]:
    """The places where dropout acts on a batch in training, in the order of the forward pass.

    Raises:
        ConfigError: If a dropout is one that is not compiled, or the module does not run.
    """
    masks: list[Mask] = []

    def nothing_dropped(shape: tuple[int, ...], keep: float) -> torch.Tensor:
        masks.append(Mask(name=f"mask{len(masks)}", shape=shape, keep=keep))
        return torch.ones(shape)

    tensors = tensors_of(module)
    everything = {**tensors.parameters, **tensors.statistics, **tensors.constants}
    kept = {name: tensor.clone() for name, tensor in everything.items()}
    with (
        in_mode(module, training=True),
        torch.no_grad(),
        MaskedDropout(nothing_dropped),
        _named_refusals(module),
    ):
        functional_call(module, kept, (x,))
    return tuple(masks)


def trace_training(
    module: nn.Module,
    x: torch.Tensor,
    targets: torch.Tensor,
    *,
    masks: Sequence[Mask],
    loss: Loss,
    decompositions: Decompositions,
) -> Trace:
    """Record ``tensors, x, targets, masks -> loss, gradients, statistics`` in training mode.

    The gradients come in the order of the parameters, then the statistics after the step in theirs.
    """

    def training(
        parameters: Named,
        statistics: Named,
        constants: Named,
        x: torch.Tensor,
        targets: torch.Tensor,
        *given: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        unwritten = {name: constant._version for name, constant in constants.items()}
        remaining = iter(given)
        with torch.enable_grad(), MaskedDropout(lambda shape, keep: next(remaining)):
            everything = {**leaves, **statistics, **constants}
            outputs: torch.Tensor = functional_call(module, everything, (x,))
        for name, version in unwritten.items():
            if constants[name]._version != version and not is_counter(name):
                raise ConfigError(
                    f"the module writes into its buffer {name}, which no step hands to the next. "
                    "Of buffers only the running statistics of BatchNorm are carried."
                )
        value, slope = loss_with_slope(loss, outputs.detach(), targets)
        found = torch.autograd.grad(
            outputs, list(leaves.values()), grad_outputs=slope, allow_unused=True
        )
        unused = [name for name, g in zip(leaves, found, strict=True) if g is None]
        if unused:
            raise ConfigError(
                f"parameters {unused} of {type(module).__name__} do not influence its output. "
                "Remove them from the module."
            )
        return (value, *found, *statistics.values())

    ones = tuple(torch.ones(mask.shape) for mask in masks)
    with in_mode(module, training=True):
        return _record(module, training, (x, targets, *ones), decompositions)


def _record(
    module: nn.Module,
    function: Callable[..., Any],
    inputs: tuple[torch.Tensor, ...],
    decompositions: Decompositions,
) -> Trace:
    tensors = tensors_of(module)
    recorder = make_fx(
        function,
        decomposition_table=dict(decompositions),
        tracing_mode="fake",
        _allow_non_fake_inputs=True,  # tensors that a module holds beside its buffers
    )
    with _without_fusion(), _named_refusals(module), fx_traceback.preserve_node_meta():
        graph = recorder(tensors.parameters, tensors.statistics, tensors.constants, *inputs)
    graph = without_writes(graph)
    graph.graph.eliminate_dead_code()
    return Trace(module=graph)


@contextmanager
def _without_fusion() -> Iterator[None]:
    """Attention and recurrent layers as the plain operations they are made of.

    oneDNN's and the fused kernels' own operations have no meaning outside torch.
    """
    # Not torch.backends.mkldnn.flags, which warns about graphics cards that are not there.
    switch: Any = torch.backends.mkldnn
    before = switch.enabled, torch.backends.mha.get_fastpath_enabled()
    switch.enabled = False
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        switch.enabled = before[0]
        torch.backends.mha.set_fastpath_enabled(before[1])


@contextmanager
def in_mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """A module in training or evaluation mode, and afterwards as it was."""
    before = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for part, was in before.items():
            part.training = was


@contextmanager
def _named_refusals(module: nn.Module) -> Iterator[None]:
    """Refuse what a forward cannot do while it is recorded, naming the submodule."""
    with _names_of_modules(module) as running:
        try:
            yield
        except (RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"module {running[-1] or type(module).__name__}: what it computes cannot be "
                f"recorded ({reason}). Shapes must be fixed, and forward must not read a number "
                "out of a tensor."
            ) from error


@contextmanager
def _names_of_modules(root: nn.Module) -> Iterator[list[str]]:
    """Write into every recorded node which submodule was running; yields those that are."""
    running = [""]

    def entering(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:  # noqa: ANN401 - torch's signature
            running.append(f"{name} ({type(module).__name__})" if name else type(module).__name__)
            fx_traceback.current_meta[_META] = {_MODULE: running[-1]}

        return hook

    def leaving(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401
        running.pop()
        fx_traceback.current_meta[_META] = {_MODULE: running[-1]}

    hooks = []
    for name, part in root.named_modules():
        hooks.append(part.register_forward_pre_hook(entering(name)))
        hooks.append(part.register_forward_hook(leaving))
    try:
        yield running
    finally:
        for hook in hooks:
            hook.remove()
        fx_traceback.current_meta.pop(_META, None)
