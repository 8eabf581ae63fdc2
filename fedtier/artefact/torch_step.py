"""A training step by torch's own autograd, losses and optimiser: the oracle of a compiled one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.torch_dropout import MaskedDropout

Arrays = Mapping[str, npt.NDArray[Any]]


class TorchStep:
    """Takes what a training graph takes and gives what it gives, by other means."""

    def __init__(self, module: nn.Module, manifest: ArtefactManifest) -> None:
        """Use a module, in its own precision: float32 or, for comparisons, float64.

        Args:
            module: Of the manifest's layout. Its mode is set; its parameters are not touched.
            manifest: What the graph was compiled with.
        """
        self._module = module.train()
        self._manifest = manifest
        self._dtype = next(module.parameters()).dtype

    def __call__(self, feed: Arrays) -> dict[str, npt.NDArray[Any]]:
        """One step.

        Args:
            feed: Input name -> array, as the training graph of the manifest takes them.

        Returns:
            ``loss``, shape ``()``; ``w_next``, shape ``(d,)``; with momentum ``velocity_next``,
            shape ``(p,)``; all in the module's precision.
        """
        given = {name: self._tensor(array) for name, array in feed.items()}
        w = given["w"][: self._manifest.parameters].requires_grad_()
        statistics = self._statistics(given["w"])
        loss = self._loss({**self._parameters(w), **statistics}, given)
        (gradient,) = torch.autograd.grad(loss, w)
        moved = self._moved(w.detach(), gradient, given)
        # The forward pass has moved the statistics in place.
        after = [moved["w_next"], *(tensor.numpy().ravel() for tensor in statistics.values())]
        return {"loss": loss.detach().numpy(), **moved, "w_next": np.concatenate(after)}

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(array))
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def _parameters(self, w: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: w[place].reshape(shape) for name, place, shape in self._places(trained=True)}

    def _statistics(self, w: torch.Tensor) -> dict[str, torch.Tensor]:
        places = self._places(trained=False)
        return {name: w[place].reshape(shape).clone() for name, place, shape in places}

    def _places(self, *, trained: bool) -> list[tuple[str, slice, tuple[int, ...]]]:
        layout, end = self._manifest.layout, self._manifest.parameters
        return [
            (tensor.name, slice(start, start + tensor.size), tensor.shape)
            for tensor, start in zip(layout.tensors, layout.offsets, strict=True)
            if (start < end) == trained
        ]

    def _loss(
        self, tensors: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        masks = iter([given[mask.name] for mask in self._manifest.masks])
        with MaskedDropout(lambda shape, keep: next(masks)):
            outputs = functional_call(self._module, dict(tensors), (given["x"],))
        loss = self._manifest.loss
        match loss.kind:
            case "cross_entropy":
                return functional.cross_entropy(outputs, given["y"], label_smoothing=loss.smoothing)
            case "mse":
                return functional.mse_loss(outputs, given["y"])
            case "bce":
                return functional.binary_cross_entropy_with_logits(outputs, given["y"])
            case _:
                assert_never(loss.kind)

    def _moved(
        self, w: torch.Tensor, gradient: torch.Tensor, given: Mapping[str, torch.Tensor]
    ) -> dict[str, npt.NDArray[Any]]:
        optimiser = self._manifest.optimiser
        if optimiser.prox:
            gradient = gradient + optimiser.prox * (w - given["anchor"])
        if optimiser.correction:
            gradient = gradient + given["correction"]
        leaf = w.clone().requires_grad_()
        leaf.grad = gradient
        sgd = torch.optim.SGD(
            [leaf],
            lr=float(given["mu"]),
            momentum=optimiser.momentum,
            nesterov=optimiser.nesterov,
            weight_decay=optimiser.weight_decay,
        )
        if optimiser.momentum:
            sgd.state[leaf]["momentum_buffer"] = given["velocity"].clone()
        sgd.step()
        moved = {"w_next": leaf.detach().numpy()}
        if optimiser.momentum:
            moved["velocity_next"] = sgd.state[leaf]["momentum_buffer"].numpy()
        return moved
