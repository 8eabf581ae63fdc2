"""The model as one flat vector: its layout and digest, the exact mean, the server step."""

from fedtier.model.exact_sum import ExactSum, fixed_point_exponent, in_range
from fedtier.model.layout import ParameterLayout, TensorSpec, Vector, model_digest
from fedtier.model.server_step import ServerStep, add

__all__ = [
    "ExactSum",
    "ParameterLayout",
    "ServerStep",
    "TensorSpec",
    "Vector",
    "add",
    "fixed_point_exponent",
    "in_range",
    "model_digest",
]
