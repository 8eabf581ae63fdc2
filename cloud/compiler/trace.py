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

from cloud.compiler.loss import loss_with_slope
from fedtier.artefact.loss import Loss
from fedtier.artefact.masks import Mask
from fedtier.artefact.torch_dropout import MaskedDropout
from fedtier.errors import ConfigError

_META = "custom"  # the field of a node's ``meta`` that torch copies and leaves to its users
_MODULE = "fedtier_module"

Parameters = Mapping[str, torch.Tensor]
Decompositions = Mapping[Any, Callable[..., Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A recorded graph and the order of its arguments.

    Attributes:
        module: Placeholders are the parameters in order, then the inputs.
        parameter_names: Names of the parameters, in the order of the placeholders.
    """

    module: fx.GraphModule
    parameter_names: tuple[str, ...]


def module_of(node: fx.Node) -> str:
    """Which submodule was running when an operation was recorded; ``""`` outside of any."""
    return str(node.meta.get(_META, {}).get(_MODULE, ""))


def trace_forward(module: nn.Module, x: torch.Tensor, *, decompositions: Decompositions) -> Trace:
    """Record ``parameters, x -> logits`` in evaluation mode."""

    def forward(parameters: Parameters, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = functional_call(module, dict(parameters), (x,))
        return logits

    with _mode(module, training=False), torch.no_grad():
        return _record(module, forward, (x,), decompositions)


def find_masks(module: nn.Module, x: torch.Tensor) -> tuple[Mask, ...]:
    """The places where dropout acts on a batch in training, in the order of the forward pass.

    Raises:
        ConfigError: If a dropout is one that is not compiled.
    """
    masks: list[Mask] = []

    def nothing_dropped(shape: tuple[int, ...], keep: float) -> torch.Tensor:
        masks.append(Mask(name=f"mask{len(masks)}", shape=shape, keep=keep))
        return torch.ones(shape)

    kept = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    with _mode(module, training=True), torch.no_grad(), MaskedDropout(nothing_dropped):
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
    """Record ``parameters, x, targets, masks -> loss, gradients`` in training mode.

    The gradients come in the order of the parameters.
    """

    def training(
        parameters: Parameters, x: torch.Tensor, targets: torch.Tensor, *given: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        leaves = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        remaining = iter(given)
        with torch.enable_grad(), MaskedDropout(lambda shape, keep: next(remaining)):
            outputs: torch.Tensor = functional_call(module, leaves, (x,))
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
        return (value, *found)

    ones = tuple(torch.ones(mask.shape) for mask in masks)
    with _mode(module, training=True):
        return _record(module, training, (x, targets, *ones), decompositions)


def _record(
    module: nn.Module,
    function: Callable[..., Any],
    inputs: tuple[torch.Tensor, ...],
    decompositions: Decompositions,
) -> Trace:
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    # oneDNN replaces operations by its own, which have no meaning outside torch.
    with (
        _without_onednn(),
        _names_of_modules(module),
        fx_traceback.preserve_node_meta(),
    ):
        graph = make_fx(function, decomposition_table=dict(decompositions), tracing_mode="fake")(
            parameters, *inputs
        )
    graph.graph.eliminate_dead_code()
    return Trace(module=graph, parameter_names=tuple(parameters))


@contextmanager
def _without_onednn() -> Iterator[None]:
    # Not torch.backends.mkldnn.flags, which warns about graphics cards that are not there.
    switch: Any = torch.backends.mkldnn
    before = switch.enabled
    switch.enabled = False
    try:
        yield
    finally:
        switch.enabled = before


@contextmanager
def _mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    before = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for part, was in before.items():
            part.training = was


@contextmanager
def _names_of_modules(root: nn.Module) -> Iterator[None]:
    """Write into every recorded node which submodule was running."""
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
        yield
    finally:
        for hook in hooks:
            hook.remove()
        fx_traceback.current_meta.pop(_META, None)
