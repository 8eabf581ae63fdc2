"""What `import fedtier` offers says what it lacks where an extra is not installed."""

from __future__ import annotations

import sys

import pytest

import fedtier
from fedtier.errors import ConfigError


def test_what_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("fedtier.sim", "fedtier.api"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "greenlet", None)  # as if it were not there
    with pytest.raises(ConfigError, match=r"greenlet is not installed.*'fedtier\[sim\]'"):
        _ = fedtier.simulate


def test_what_is_not_offered_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = fedtier.train
