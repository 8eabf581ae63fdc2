"""A module as it computes in float64, to compare a compiled one with."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fedtier.errors import ConfigError


def in_float64(module: nn.Module) -> nn.Module:
    """A copy whose parameters, buffers and other tensors are float64."""
    double = copy.deepcopy(module).double()
    for part in double.modules():
        for name, held in vars(part).items():
            if isinstance(held, torch.Tensor) and held.is_floating_point():
                setattr(part, name, held.double())
    return double


@contextmanager
def making_float64() -> Iterator[None]:
    """What a forward makes without saying a type is float64, such as an initial state of zeros.

    Raises:
        ConfigError: If the forward mixes types all the same.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    except RuntimeError as error:
        raise ConfigError(
            f"the module does not run in float64, in which its gradient is checked ({error}). "
            "Where forward makes a tensor, name no type, or that of the input: x.new_zeros(...)."
        ) from error
    finally:
        torch.set_default_dtype(before)
