"""The tables name only what there is, and reach all of it."""

from __future__ import annotations

import pytest
import state_tables as tables
from core_states import pairs


@pytest.mark.parametrize("table", tables.TABLES, ids=lambda table: table.name)
def test_a_table_names_only_its_own_states_and_kinds_and_reaches_every_state(table):
    for state, row in table.moves.items():
        for kind in row:
            assert table.allowed(state, kind) <= set(table.states)
    reached = {
        next_state for state, kind in pairs(table) for next_state in table.allowed(state, kind)
    }
    assert reached == set(table.states)
