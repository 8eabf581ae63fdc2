"""Train with torch's own autograd: slow to start and large, and the oracle of the compiled step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from edge_agent.train_steps import augmented_batches, check_finite
from fedtier.artefact.inputs import check_examples
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.trainer import Trained, TrainTask
from fedtier.data.augmentation import Augmentation
from fedtier.data.examples import Examples


class TorchTrainer:
    """Runs the same batches through a torch module; see ``fedtier.artefact.trainer.Trainer``."""

    def __init__(self, factory: Callable[[], nn.Module], manifest: ArtefactManifest) -> None:
        self._module = factory().train()
        self._manifest = manifest
        self._augmentation = Augmentation.from_json(manifest.augmentation, where=manifest.name)

    def train(
        self, task: TrainTask, examples: Examples, *, cancelled: Callable[[], bool]
    ) -> Trained | None:
        """Run the task's steps; ``None`` when cancelled.

        Raises:
            ConfigError: If the examples do not suit the artefact.
            TrainingError: If the loss or the model is not finite.
        """
        check_examples(examples, self._manifest, where=f"task {task.path}")
        batches = augmented_batches(
            task, examples, batch=self._manifest.batch, augmentation=self._augmentation
        )
        w, loss_sum = torch.from_numpy(np.array(task.model)), 0.0
        for step in range(task.steps):
            if cancelled():
                return None
            x, y = next(batches)
            mu = task.schedule.mu_at(task.first_step + step, task.round_steps)
            loss, w = self._step(w, torch.from_numpy(x), torch.from_numpy(y), mu=float(mu))
            check_finite(loss, w.numpy(), task=task, step=step)
            loss_sum += loss
        return Trained(
            model=w.numpy(),
            loss_sum=loss_sum,
            examples_seen=task.steps * self._manifest.batch,
            steps=task.steps,
        )

    def _step(
        self, w: torch.Tensor, x: torch.Tensor, y: torch.Tensor, *, mu: float
    ) -> tuple[float, torch.Tensor]:
        """The loss, and the model after the step; running statistics are as the batch left them."""
        leaf = w.clone().requires_grad_()
        layout = self._manifest.layout
        places = {
            tensor.name: slice(start, start + tensor.size)
            for tensor, start in zip(layout.tensors, layout.offsets, strict=True)
        }
        shapes = {tensor.name: tensor.shape for tensor in layout.tensors}
        statistics = {
            name: w[places[name]].reshape(shapes[name]).clone()
            for name, _ in self._module.named_buffers()
            if name in places
        }
        parameters = {
            name: leaf[place].reshape(shapes[name])
            for name, place in places.items()
            if name not in statistics
        }
        logits = functional_call(self._module, {**parameters, **statistics}, (x,))
        loss = nn.functional.cross_entropy(logits, y, label_smoothing=self._manifest.smoothing)
        (gradient,) = torch.autograd.grad(loss, leaf)
        after = w - mu * gradient
        for name, tensor in statistics.items():
            after[places[name]] = tensor.ravel()
        return float(loss.detach()), after
