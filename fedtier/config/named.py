"""What a configuration file names: artefact, boards, traits; data and secrets on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.find import find_artefact
from fedtier.artefact.inputs import check_labels
from fedtier.artefact.prepared_data import prepare_device, prepare_held_out
from fedtier.config.board import BoardFile, load_board
from fedtier.config.budget_rules import check_rounds
from fedtier.config.data_rules import data_place, select_devices, select_held_out
from fedtier.config.federation import Federation
from fedtier.config.node_file import NodeFile, select_data
from fedtier.config.place import Place
from fedtier.data.augmentation import Augmentation
from fedtier.data.preprocessing import Pipeline
from fedtier.data.selection import Selection
from fedtier.errors import ConfigError
from fedtier.planner.estimates import estimates_for
from fedtier.planner.setting import Setting
from fedtier.words import counted, nearest


def check_named(
    found: Federation | NodeFile | BoardFile, *, where: str, all_here: bool = False
) -> list[str]:
    """Look at everything a file names, as far as it can be seen from this machine.

    Data that are here are read and treated as the nodes will, one node's at a time.

    Args:
        found: What the file says, checked by itself.
        where: The file's name, for errors.
        all_here: Whether a federation's data must all be on this machine, as for a demo.

    Returns:
        Which data, and which files of passwords and certificates, are not on this machine: a line
        for each of the two kinds of which one is missing. And which parents have no broker, where
        others have.

    Raises:
        ConfigError: If an artefact or a board's profile is missing or wrong, momentum that the
            artefact has not is to be carried, a lowering is named that it has not, a link's budget
            does not carry what its children must carry, estimates of an earlier run are missing or
            of another federation, or data lack a trait that the artefact's preprocessing asks for,
            or name other labels than the artefact's, or columns for another number of channels; or
            data that are here cannot be read, give no example, or are not what the artefact takes.
    """
    match found:
        case Federation():
            return _check_federation(found, Place(where), all_here=all_here)
        case NodeFile():
            return _check_node(found, Place(where))
        case BoardFile():
            return []


def _check_federation(federation: Federation, place: Place, *, all_here: bool) -> list[str]:
    artefact = _artefact(federation.artefact, place.below("model"))
    _check_carry(federation, artefact, place.below("plan"))
    _check_lowering(federation, artefact, place.below("plan"))
    _check_boards(federation, place)
    check_rounds(federation, dimension=artefact.layout.dimension, place=place)
    _check_estimates(federation, artefact)
    devices = select_devices(federation, place=place)
    pipeline = _pipeline(artefact, place.below("model"))
    selections = {
        data_place(federation, device, place): selection for device, selection in devices.items()
    }
    held_out = select_held_out(federation, place=place)
    for device in devices:
        spec, where = federation.nodes[device].data, data_place(federation, device, place)
        check_labels(spec, artefact.manifest, where=where)
    if federation.evaluation is not None and held_out is not None:
        where = str(place.below("evaluation"))
        selections[where] = held_out
        check_labels(federation.evaluation, artefact.manifest, where=where)
    for name, selection in selections.items():
        _check_traits(selection, pipeline, where=name)
        _check_channels(selection, pipeline, artefact, where=name)
    for device, selection in devices.items():
        if all_here or _is_seen(selection):
            spec, where = federation.nodes[device].data, data_place(federation, device, place)
            prepare_device(spec, artefact.manifest, node=device, where=where)
    absent = {str(device): s for device, s in devices.items()}
    if federation.evaluation is not None and held_out is not None:
        if all_here or _is_seen(held_out):
            where = str(place.below("evaluation"))
            prepare_held_out(federation.evaluation, artefact.manifest, where=where)
        absent["[evaluation]"] = held_out
    return [*_without_broker(federation), *_absent(absent)]


def _check_estimates(federation: Federation, artefact: Artefact) -> None:
    auto = federation.plan.auto
    if auto is not None and auto.estimates is not None:
        dimension = artefact.layout.dimension
        Setting.of(federation, estimates_for(federation, Path(auto.estimates), dimension=dimension))


def _without_broker(federation: Federation) -> list[str]:
    """A file without any broker is for the demo; one in which some lack it was not finished."""
    lacking = federation.without_broker()
    if not lacking or lacking == federation.topology.parents():
        return []
    cells = _some(list(map(str, lacking)))
    return [
        f"there is no broker for the cell of {cells}: fedtier demo starts its own, but "
        f'fedtier config nodes refuses the file. Add a [[node]] with id = "{lacking[0]}" and '
        'broker_url = "mqtt://HOST:PORT".'
    ]


def _check_node(file: NodeFile, place: Place) -> list[str]:
    artefact = None
    if file.node.artefact is not None:
        artefact = _artefact(file.node.artefact, place.below("node"))
    secrets = _absent_secrets(file)
    if file.data is None or artefact is None:
        return secrets
    selection = select_data(file, where=place.file)
    where = str(place.below("data"))
    check_labels(file.data.spec, artefact.manifest, where=where)
    pipeline = _pipeline(artefact, place.below("node"))
    _check_traits(selection, pipeline, where=where)
    _check_channels(selection, pipeline, artefact, where=where)
    if _is_seen(selection):
        prepare_device(file.data.spec, artefact.manifest, node=file.id, where=where)
    return [*secrets, *_absent({str(file.id): selection})]


def _absent_secrets(file: NodeFile) -> list[str]:
    absent = [
        f'[{name}] {key} = "{path}"'
        for name, section in (("parent", file.parent), ("cell", file.cell))
        for key, path in ({} if section is None else section.files()).items()
        if not _is_here(Path(path))
    ]
    if not absent:
        return []
    return [
        f"{_some(absent)}: not on this machine, or not for this user to see; {file.id} starts only "
        "where they are"
    ]


def _artefact(name: str, place: Place) -> Artefact:
    try:
        return find_artefact(name)
    except ConfigError as error:
        raise place.refuse("artefact", f'= "{name}": {error}') from error


def _pipeline(artefact: Artefact, place: Place) -> Pipeline:
    where = place.at("artefact")
    Augmentation.from_json(artefact.manifest.augmentation, where=where)
    return Pipeline.from_json(artefact.manifest.preprocessing, where=where)


def _check_carry(federation: Federation, artefact: Artefact, place: Place) -> None:
    carry = federation.plan.carry
    if carry != "none" and not artefact.manifest.optimiser.momentum:
        raise place.refuse(
            "carry",
            f'= "{carry}", and the artefact {artefact.manifest.name} was compiled without '
            "momentum: there is nothing to carry. Remove it, or compile with momentum.",
        )


def _check_lowering(federation: Federation, artefact: Artefact, place: Place) -> None:
    try:
        artefact.manifest.lowering_for(federation.plan.lowering)
    except ConfigError as error:
        raise place.refuse("lowering", f'= "{federation.plan.lowering}": {error}') from error


def _check_boards(federation: Federation, place: Place) -> None:
    named = {e.board: e.tables["board"] for e in federation.nodes.values() if e.board is not None}
    for board, table in named.items():
        try:
            load_board(board)
        except ConfigError as error:
            raise ConfigError(f'{place}: {table} board = "{board}": {error}') from error


def _check_traits(selection: Selection, pipeline: Pipeline, *, where: str) -> None:
    if selection.traits is None:
        return
    for trait in pipeline.traits:
        if trait not in selection.traits:
            raise ConfigError(
                f"{where}: traits has no {trait!r}, which the artefact's preprocessing asks for."
                f"{nearest(trait, selection.traits)} Say what it is of these recordings, such as "
                f"traits = {{ {trait} = 0 }}."
            )


def _check_channels(
    selection: Selection, pipeline: Pipeline, artefact: Artefact, *, where: str
) -> None:
    taken = artefact.manifest.input_shape[0]
    if selection.channels not in (None, taken) and pipeline.keeps_channels:
        raise ConfigError(
            f"{where}: features names {counted(selection.channels, 'column')}, the artefact "
            f"{artefact.manifest.name} takes {counted(taken, 'channel')}. Name as many, or compile "
            "it with another input_shape."
        )


def _absent(selections: Mapping[str, Selection]) -> list[str]:
    absent: dict[Path, list[str]] = {}
    for name, selection in selections.items():
        for path in selection.paths:
            if not os.access(path, os.R_OK):
                absent.setdefault(path, []).append(name)
    if not absent:
        return []
    names = list(dict.fromkeys(name for those in absent.values() for name in those))
    return [
        f"the data of {_some(names)} are not on this machine, or not for this user to read, and "
        f"were not looked at: "
        f"{_some(list(map(str, absent)))}"
    ]


def _is_seen(selection: Selection) -> bool:
    """Whether data can be looked at: a source that tells no paths may have them elsewhere."""
    return bool(selection.paths) and all(os.access(path, os.R_OK) for path in selection.paths)


def _is_here(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # in a directory of somebody else's
        return False


def _some(names: list[str]) -> str:
    shown, rest = names[:3], len(names) - 3
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
