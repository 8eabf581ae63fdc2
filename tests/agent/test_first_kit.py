"""What an agent looks at before it has an artefact: its data, as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.kit import first_kit, make_kit
from fedtier.config.node_file import NodeFile, parse_node_file
from fedtier.errors import ConfigError
from fedtier.storage.artefact_store import ArtefactStore

IMAGES = np.zeros((20, 1, 28, 28), np.uint8)


def node_file(directory: Path) -> NodeFile:
    text = f"""
    [node]
    id = "d"
    federation = "f"
    role = "agent"
    tier = 0
    state_dir = "{directory}"

    [parent]
    id = "cloud"
    url = "mqtt://127.0.0.1"

    [data]
    source = "npz-directory"
    path = "{directory}"
    """
    return parse_node_file(text, where="agent.toml", directory=directory)


def start(directory: Path):
    return first_kit(node_file(directory), ArtefactStore(directory), make_kit, where="agent.toml")


def test_images_as_bytes_wait_for_the_artefact_that_scales_them(tmp_path):
    np.savez(tmp_path / "d.npz", x=IMAGES, y=np.zeros(len(IMAGES), np.int64))
    assert start(tmp_path) is None


def test_data_that_are_missing_are_told_before_there_is_an_artefact(tmp_path):
    with pytest.raises(ConfigError, match=r"d\.npz does not exist"):
        start(tmp_path)
