"""What befalls a simulated world for a while: a bad network, lost connections, crashes.

All of it is drawn from the world's seed, so that a seed whose run fails fails again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from random import Random

from fedtier.core.effects import Side
from fedtier.errors import ConfigError
from fedtier.sim.broker import Delivery
from fedtier.sim.world import SimNode, World
from fedtier.words import counted, nearest

Touches = Callable[[Delivery], bool]
"""Whether a message may be dropped, doubled, delayed or reordered."""


def every(delivery: Delivery) -> bool:
    """Touches all there is."""
    del delivery
    return True


_REORDER_S = 0.3  # enough for what is sent in answer to what was sent next
_DELAY_S = (0.1, 20.0)
_AWAY_S = (0.0, 0.3, 10.0, 100.0)  # a connection that was cut
_DOWN_S = (0.0, 1.0, 40.0)  # a node that has crashed
_SHARES = ("drop", "double", "delay", "reorder")
_COUNT_MAX = 10_000
_UNTIL_S_MAX = 1e7


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What befalls a world in its first seconds; none of it by default.

    Raises:
        ConfigError: If a number is outside the range given beside it.
    """

    # Shares of messages, in [0, 1], their sum too.
    drop: float = 0.0  # share that is lost
    double: float = 0.0  # share that comes twice
    delay: float = 0.0  # share that comes up to 20 s late, on a later connection if need be
    reorder: float = 0.0  # share that up to 0.3 s of others overtake
    cut: int = 0  # connections lost, for 0 to 100 s; 0 to 10000
    restart: int = 0  # brokers restarted, which then have forgotten what they retained; 0 to 10000
    crash: int = 0  # nodes killed, and started again within 40 s; 0 to 10000
    until: float = 60.0  # seconds in which all this happens, in (0, 1e7]
    budget: int | None = None  # messages that are touched at most; None = any number

    def __post_init__(self) -> None:
        for name in _SHARES:
            _check(name, getattr(self, name), 0.0, 1.0)
        _check("drop + double + delay + reorder", self._share, 0.0, 1.0)
        for name in ("cut", "restart", "crash"):
            _check(name, getattr(self, name), 0, _COUNT_MAX)
        if self.budget is not None:
            _check("budget", self.budget, 0, 10**9)
        if not 0.0 < self.until <= _UNTIL_S_MAX:
            raise ConfigError(
                f"faults: until = {self.until:g} is outside (0, {_UNTIL_S_MAX:g}] seconds."
            )

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read faults from the command line.

        Args:
            text: ``KEY=NUMBER`` with commas between, such as ``drop=0.2,crash=5,until=60``.

        Raises:
            ConfigError: If a key is unknown or twice there, or a number is none or out of range.
        """
        found: dict[str, float | int] = {}
        for item in text.split(","):
            name, _, number = (part.strip() for part in item.partition("="))
            if name not in _NAMES:
                raise ConfigError(
                    f"faults: {name!r} is no fault.{nearest(name, _NAMES)} Write KEY=NUMBER with "
                    f"commas between; the keys are {', '.join(_NAMES)}."
                )
            if name in found:
                raise ConfigError(f"faults: {name} is there twice. Give it once.")
            found[name] = _number(name, number)
        return cls(**found)  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        """As ``parse`` reads it; what is as by default is left out."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return ",".join(
            f"{each.name}={given[each.name]!r}"
            for each in fields(self)
            if given[each.name] != each.default
        )

    @property
    def _share(self) -> float:
        return self.drop + self.double + self.delay + self.reorder

    def befall(self, world: World, *, touches: Touches = every) -> Befallen:
        """Let all this happen to a world, from now on; before its start, to all that is said.

        Args:
            world: What is to suffer.
            touches: Which messages the four shares are of.
        """
        befallen = Befallen(self, world, touches)
        if self._share:
            for broker in world.brokers.values():
                assert broker.fault is None, "another fault is there already"
                broker.fault = befallen.fault
        return befallen


_NAMES = tuple(each.name for each in fields(Faults))
_WHOLE = ("cut", "restart", "crash", "budget")


class Befallen:
    """What happens to one world.

    Attributes:
        touched: How many messages were dropped, doubled, delayed or reordered.
        cuts, restarts, crashes: How many there were.
    """

    def __init__(self, faults: Faults, world: World, touches: Touches) -> None:
        """Make the appointments."""
        self.touched = self.cuts = self.restarts = self.crashes = 0
        self._faults, self._world, self._touches = faults, world, touches
        self._draws = Random(f"{world.seed}/faults")
        self._end_s = world.agenda.now_s + faults.until
        for action, count in (
            (self._cut, faults.cut), (self._restart, faults.restart), (self._crash, faults.crash),
        ):  # fmt: skip
            for _ in range(count):
                world.agenda.after(self._draws.uniform(0.0, faults.until), action)

    @property
    def text(self) -> str:
        """How much of everything there was, for people."""
        messages, cuts = counted(self.touched, "message"), counted(self.cuts, "lost connection")
        restarts = counted(self.restarts, "restarted broker")
        killed = counted(self.crashes, "killed node")
        return f"{messages} dropped, doubled or late, {cuts}, {restarts} and {killed}"

    def fault(self, delivery: Delivery) -> Sequence[float]:
        """What becomes of a delivery; see ``fedtier.sim.broker.Fault``."""
        faults = self._faults
        spent = faults.budget is not None and self.touched >= faults.budget
        if spent or self._world.agenda.now_s >= self._end_s or not self._touches(delivery):
            return (0.0,)
        roll = self._draws.random()
        for share, become in (
            (faults.drop, self._dropped), (faults.delay, self._delayed),
            (faults.reorder, self._reordered), (faults.double, self._doubled),
        ):  # fmt: skip
            if roll < share:
                self.touched += 1
                return become()
            roll -= share
        return (0.0,)

    def _dropped(self) -> Sequence[float]:
        return ()

    def _delayed(self) -> Sequence[float]:
        return (self._draws.uniform(*_DELAY_S),)

    def _reordered(self) -> Sequence[float]:
        return (self._draws.uniform(0.0, _REORDER_S),)

    def _doubled(self) -> Sequence[float]:
        return (0.0, self._draws.uniform(0.0, _REORDER_S))

    def _cut(self) -> None:
        node = self._draws.choice(list(self._world.nodes.values()))
        sides: list[Side] = ["up"] if node.file.parent is not None else []
        if node.file.cell is not None:
            sides.append("down")
        side, away_s = self._draws.choice(sides), self._draws.choice(_AWAY_S)
        if node.running:
            self.cuts += 1
            node.cut(side)
            self._world.agenda.after(away_s, lambda: node.reconnect(side))

    def _restart(self) -> None:
        self.restarts += 1
        self._world.restart_broker(self._draws.choice(list(self._world.brokers)))

    def _crash(self) -> None:
        node = self._draws.choice(list(self._world.nodes.values()))
        down_s = self._draws.choice(_DOWN_S)
        if node.running and not self._world.cloud.done:
            self.crashes += 1
            node.crash()
            self._world.agenda.after(down_s, lambda: _start(node))


def _start(node: SimNode) -> None:
    if not node.running:  # else somebody else was quicker
        node.start()


def _number(name: str, text: str) -> float | int:
    kind = int if name in _WHOLE else float
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ConfigError(f"faults: {name} = {text!r} is not {wanted}.") from None


def _check(name: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise ConfigError(
            f"faults: {name} = {value:g} is outside [{lowest:g}, {highest:g}]. Correct it."
        )
