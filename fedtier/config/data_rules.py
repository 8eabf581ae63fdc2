"""What a federation file says of data: tables a source takes, and nothing trained on held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedtier.config.place import Place
from fedtier.data.selection import Selection, find_shared
from fedtier.data.sources import device_selection, held_out_selection
from fedtier.ids import NodeId

if TYPE_CHECKING:
    from fedtier.config.federation import Federation


def select_devices(federation: Federation, *, place: Place) -> dict[NodeId, Selection]:
    """What each device trains on, as far as its table tells.

    Raises:
        ConfigError: If a table is not what its source takes.
    """
    return {
        device: device_selection(
            federation.nodes[device].data, node=device, where=data_place(federation, device, place)
        )
        for device in federation.topology.devices()
    }


def select_held_out(federation: Federation, *, place: Place) -> Selection | None:
    """What the cloud evaluates on, as far as the table tells; None if nothing.

    Raises:
        ConfigError: If the table is not what its source takes.
    """
    if federation.evaluation is None:
        return None
    return held_out_selection(federation.evaluation, where=str(place.below("evaluation")))


def data_place(federation: Federation, device: NodeId, place: Place) -> str:
    """The tables a device's data specification comes from, as an error names them."""
    return f"{place}: {federation.nodes[device].tables['data']} of {device!r}"


def check_data(federation: Federation, *, place: Place) -> None:
    """Check every data table, without opening any file of data.

    Raises:
        ConfigError: If a table is not what its source takes, or a device trains on what the model
            is measured on.
    """
    trained = select_devices(federation, place=place)
    held_out = select_held_out(federation, place=place)
    if held_out is None:
        return
    assert federation.evaluation is not None
    source = federation.evaluation["source"]
    holders = {
        origin: device
        for device, selection in trained.items()
        if federation.nodes[device].data["source"] == source
        for origin in selection.origins
    }
    _check_apart(federation, held_out, holders, place=place)


def _check_apart(
    federation: Federation, held_out: Selection, holders: Mapping[str, NodeId], *, place: Place
) -> None:
    shared = find_shared(held_out.origins, holders)
    if shared is None:
        return
    origin, device = shared
    evaluation = federation.evaluation or {}
    value = f"= {evaluation[held_out.key]!r} " if held_out.key in evaluation else ""
    raise place.below("evaluation").refuse(
        held_out.key or "source",
        f"{value}selects {origin}, and {device!r} trains on it "
        f"({federation.nodes[device].tables['data']}). A model must not be measured on what it "
        f"was trained on: hold out other data, or give {device!r} other data.",
    )
