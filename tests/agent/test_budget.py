"""What a board's profile allows a device."""

from __future__ import annotations

import pytest

from edge_agent.budget import check_batch, needed_mib
from fedtier.artefact.find import find_artefact
from fedtier.config.board import BoardTable
from fedtier.errors import ConfigError


def test_an_artefact_for_larger_batches_than_the_board_takes_is_refused_with_both_numbers():
    artefact = find_artefact("package:imu")
    check_batch(BoardTable(batch_max=32), artefact, where="agent.toml")
    check_batch(BoardTable(), artefact, where="agent.toml")
    with pytest.raises(ConfigError, match=r"agent.toml: .*batch_max = 16.* batches of 32"):
        check_batch(BoardTable(batch_max=16), artefact, where="agent.toml")


def test_a_model_needs_four_vectors_of_its_parameters_at_least():
    artefact = find_artefact("package:imu")
    assert needed_mib(artefact) == 4 * 4 * artefact.layout.dimension / 2**20
