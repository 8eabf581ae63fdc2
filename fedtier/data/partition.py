"""Dividing one set of labelled examples among devices: pure functions of labels, seed, devices.

Every example goes to at most one device, and no device is left with fewer than ``minimum``. Each
device can compute the whole division and take its own share: all of them come to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from fedtier.data.dirichlet_draws import dirichlet_shares
from fedtier.data.examples import Labels
from fedtier.data.fields import Fields
from fedtier.draws import draw_key, permutation
from fedtier.errors import ConfigError
from fedtier.words import did_you_mean

Shares = tuple[npt.NDArray[np.int64], ...]
"""For each device the ascending indices of its examples."""

ATTEMPTS = 50
DEVICES_MAX = 100_000
MINIMUM_DEFAULT = 10


def by_key(keys: npt.NDArray[np.int64]) -> Shares:
    """One device for each distinct key (a subject, a machine), in ascending order of keys."""
    return tuple(np.flatnonzero(keys == key) for key in np.unique(keys))


def dirichlet(labels: Labels, *, alpha: float, devices: int, seed: int, minimum: int = 1) -> Shares:
    """Divide each class among the devices in proportions drawn from Dirichlet(``alpha``).

    Args:
        labels: Class numbers, shape ``(n,)``.
        alpha: > 0; near 0 each class goes to one device, large values divide evenly.
        devices: How many, >= 1.
        seed: 64 bits.
        minimum: Fewest examples of a device; a division that falls short is drawn anew.

    Raises:
        ConfigError: If no division in 50 gives every device its minimum.

    Notes:
        Source: Hsu, Qi, Brown, arXiv:1909.06335; by class over devices as in Yurochkin et al.,
        arXiv:1905.12022.
    """
    _check_enough(labels, devices=devices, minimum=minimum)
    for attempt in range(ATTEMPTS):
        owner = np.empty(len(labels), dtype=np.int64)
        for name, members in _classes(labels):
            address = f"{attempt}.{name}"
            shares = dirichlet_shares(alpha, devices, seed=seed, address=address)
            ends = np.floor(np.cumsum(shares) * len(members)).astype(np.int64)
            ends[-1] = len(members)
            shuffled = members[_shuffle(len(members), seed=seed, address=address)]
            owner[shuffled] = np.searchsorted(ends, np.arange(len(members)), side="right")
        found = _by_owner(owner, devices)
        if min(len(share) for share in found) >= minimum:
            return found
    raise ConfigError(
        f"alpha = {alpha:g} leaves one of {devices} devices with fewer than {minimum} examples in "
        f"each of {ATTEMPTS} draws. Raise alpha, or lower devices or minimum."
    )


def classes_per_device(
    labels: Labels, *, classes: int, devices: int, seed: int, minimum: int = 1
) -> Shares:
    """Give each device ``classes`` classes, and divide each class evenly among its holders.

    Each device takes the classes held by fewest so far, ties by draw: how many hold a class
    differs by at most one. A class that no device holds is left out.

    Raises:
        ConfigError: If there are fewer than ``classes`` classes, or a device falls short of
            ``minimum``.

    Notes:
        In the manner of the shards of McMahan et al., arXiv:1602.05629.
    """
    _check_enough(labels, devices=devices, minimum=minimum)
    members = list(_classes(labels))
    if classes > len(members):
        raise ConfigError(
            f"classes = {classes}, but the labels have {len(members)}. Lower classes."
        )
    holders: list[list[int]] = [[] for _ in members]
    for device in range(devices):
        key = draw_key(seed=seed, path="", node=str(device), purpose="partition.classes")
        ties = permutation(key, len(members)).tolist()
        ranked = sorted(range(len(members)), key=lambda c: (len(holders[c]), ties[c]))
        for chosen in ranked[:classes]:
            holders[chosen].append(device)
    owner = np.full(len(labels), -1, dtype=np.int64)
    for (name, indices), owners in zip(members, holders, strict=True):
        if owners:
            shuffled = indices[_shuffle(len(indices), seed=seed, address=str(name))]
            for device, piece in zip(owners, np.array_split(shuffled, len(owners)), strict=True):
                owner[piece] = device
    found = _by_owner(owner, devices)
    fewest = min(len(share) for share in found)
    if fewest < minimum:
        raise ConfigError(
            f"one of {devices} devices has {fewest} examples, fewer than {minimum}: its classes "
            "have too many holders. Lower devices, classes or minimum."
        )
    return found


def quantity_skew(
    labels: Labels, *, alpha: float, devices: int, seed: int, minimum: int = 1
) -> Shares:
    """Divide shuffled examples into shares whose sizes are drawn from Dirichlet(``alpha``).

    Each device first gets its ``minimum``; the rest is divided in the drawn proportions.

    Raises:
        ConfigError: If there are fewer than ``devices * minimum`` examples.
    """
    _check_enough(labels, devices=devices, minimum=minimum)
    shares = dirichlet_shares(alpha, devices, seed=seed, address="quantity")
    rest = len(labels) - devices * minimum
    ends = np.floor(np.cumsum(shares) * rest).astype(np.int64)
    ends += minimum * np.arange(1, devices + 1)
    ends[-1] = len(labels)
    shuffled = _shuffle(len(labels), seed=seed, address="quantity")
    return tuple(np.sort(share) for share in np.split(shuffled, ends[:-1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A division as a data table asks for it, made once the labels are at hand.

    Attributes:
        name: ``dirichlet``, ``classes`` or ``quantity``.
        devices: Among how many, >= 1.
        divide: The division itself.
    """

    name: str
    devices: int
    divide: Callable[[Labels], Shares]

    @classmethod
    def from_fields(cls, fields: Fields) -> Partition:
        """Read ``partition``, ``devices``, ``seed``, ``minimum`` and the parameter of its own.

        ``dirichlet`` and ``quantity`` have ``alpha``, ``classes`` has ``classes``.

        Raises:
            ConfigError: If a value cannot be.
        """
        name = fields.text("partition")
        if name not in _PARTITIONS:
            hint = did_you_mean(name, _PARTITIONS)
            raise fields.error("partition", f"{name!r} is unknown. {hint}")
        divide = _PARTITIONS[name](fields)
        devices = fields.integer("devices", low=1, high=DEVICES_MAX)
        seed = fields.integer("seed", low=0, high=2**64 - 1)
        minimum = fields.integer("minimum", low=1, high=10**9, default=MINIMUM_DEFAULT)
        return cls(
            name=name,
            devices=devices,
            divide=partial(divide, devices=devices, seed=seed, minimum=minimum),
        )

    def of(self, labels: Labels, *, where: str) -> Shares:
        """Divide a set of labelled examples.

        Raises:
            ConfigError: If these labels cannot be divided so.
        """
        try:
            return self.divide(labels)
        except ConfigError as error:
            raise ConfigError(f"{where}: partition {self.name!r}: {error}") from error


def _dirichlet_from(fields: Fields) -> Callable[..., Shares]:
    return partial(dirichlet, alpha=fields.number("alpha", low=1e-3, high=1e6))


def _classes_from(fields: Fields) -> Callable[..., Shares]:
    return partial(classes_per_device, classes=fields.integer("classes", low=1, high=10**6))


def _quantity_from(fields: Fields) -> Callable[..., Shares]:
    return partial(quantity_skew, alpha=fields.number("alpha", low=1e-3, high=1e6))


_PARTITIONS: dict[str, Callable[[Fields], Callable[..., Shares]]] = {
    "dirichlet": _dirichlet_from,
    "classes": _classes_from,
    "quantity": _quantity_from,
}


def _classes(labels: Labels) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    for name in np.unique(labels):
        yield int(name), np.flatnonzero(labels == name)


def _shuffle(count: int, *, seed: int, address: str) -> npt.NDArray[np.int64]:
    key = draw_key(seed=seed, path="", node="", tensor=address, purpose="partition.shuffle")
    return permutation(key, count)


def _by_owner(owner: npt.NDArray[np.int64], devices: int) -> Shares:
    order = np.argsort(owner, kind="stable")
    ends = np.searchsorted(owner[order], np.arange(devices + 1))
    return tuple(order[ends[device] : ends[device + 1]] for device in range(devices))


def _check_enough(labels: Labels, *, devices: int, minimum: int) -> None:
    if len(labels) < devices * minimum:
        raise ConfigError(
            f"{len(labels)} examples cannot give {devices} devices {minimum} each. Lower devices "
            "or minimum."
        )
