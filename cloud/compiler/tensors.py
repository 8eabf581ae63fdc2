"""What a module is made of: parameters that are trained, statistics that follow, constants."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from fedtier.errors import ConfigError
from fedtier.model.layout import ParameterLayout, TensorSpec

Tensors = dict[str, torch.Tensor]

# A count of steps, which nothing reads while the momentum is a number.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTensors:
    """A module's tensors by the names they have in its ``state_dict``; shared ones once.

    Attributes:
        parameters: What the gradient is taken of, in the module's own order.
        statistics: Running means and variances of batch normalisations, which a training step
            moves towards its batch's; in the flat vector they stand behind the parameters.
        constants: All other buffers.
    """

    parameters: Tensors
    statistics: Tensors
    constants: Tensors

    @property
    def parameter_count(self) -> int:
        """Numbers in the parameters, ``p``: the flat vector begins with them."""
        return sum(tensor.numel() for tensor in self.parameters.values())

    @property
    def layout(self) -> ParameterLayout:
        """Names and shapes in the order of the flat vector."""
        return ParameterLayout(
            tensors=tuple(
                TensorSpec(name=name, shape=tuple(tensor.shape))
                for name, tensor in {**self.parameters, **self.statistics}.items()
            )
        )


def tensors_of(module: nn.Module) -> ModuleTensors:
    """Sort a module's parameters and buffers.

    Raises:
        ConfigError: If a parameter is frozen, a type is not float32, or a normalisation keeps its
            statistics in a way that nodes cannot average.
    """
    names = _statistics_names(module)
    parameters = dict(module.named_parameters())
    buffers = dict(module.named_buffers())
    for name, parameter in parameters.items():
        if not parameter.requires_grad:
            raise ConfigError(
                f"parameter {name} is frozen (requires_grad=False). Make it a buffer, which is "
                "compiled as a constant."
            )
    for name, tensor in [*parameters.items(), *((name, buffers[name]) for name in names)]:
        if tensor.dtype != torch.float32:
            raise ConfigError(f"tensor {name} is {tensor.dtype}. Use float32.")
    return ModuleTensors(
        parameters={name: parameter.detach() for name, parameter in parameters.items()},
        statistics={name: buffers[name] for name in buffers if name in names},
        constants={name: buffers[name] for name in buffers if name not in names},
    )


def is_counter(name: str) -> bool:
    """Whether a buffer counts the steps of a batch normalisation."""
    return name.rpartition(".")[2] == _COUNTER


def is_variance(name: str) -> bool:
    """Whether a tensor of the layout is a running variance, which is not negative."""
    return name.rpartition(".")[2] == "running_var"


def _statistics_names(module: nn.Module) -> set[str]:
    names: set[str] = set()
    for name, part in module.named_modules():
        if not isinstance(part, nn.modules.batchnorm._NormBase):
            continue
        where = f"module {name or 'itself'} ({type(part).__name__})"
        if isinstance(part, nn.modules.instancenorm._InstanceNorm):
            if part.track_running_stats:
                raise ConfigError(
                    f"{where} has track_running_stats=True, which is not compiled. Leave it out: "
                    "an instance then is normalised by its own statistics always."
                )
        elif not part.track_running_stats:
            raise ConfigError(
                f"{where} has track_running_stats=False: its predictions would depend on which "
                "examples share a batch. Leave it out, or use GroupNorm."
            )
        elif part.momentum is None:
            raise ConfigError(
                f"{where} has momentum=None, an average over all steps so far, whose number "
                "devices do not share. Give a number, such as 0.1."
            )
        else:
            prefix = f"{name}." if name else ""
            names |= {f"{prefix}running_mean", f"{prefix}running_var"}
    return names
