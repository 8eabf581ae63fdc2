"""The artefact a child holds, and how it comes by the one that its parent's head asks for."""

from __future__ import annotations

from collections.abc import Iterable

from fedtier.core.effects import Effect, Install, Note, SavePart, Send
from fedtier.core.events import Installed
from fedtier.core.fetch import Fetch
from fedtier.core.pace import Line, Pace
from fedtier.errors import WireError
from fedtier.ids import NodeId
from fedtier.limits import ARTEFACT_BYTES_MAX, GAP_S, WINDOW_PARTS
from fedtier.wire.head import BlobRef, Head
from fedtier.wire.messages import Want
from fedtier.wire.parts import Part


class Equipment:
    """Fetches an artefact part by part and has it installed; one at a time, the newest asked for.

    What could not be installed is not fetched again in this boot: no repetition would change it.
    Parts of an artefact of more than one window are saved, so that the next boot goes on where this
    one ended; of a smaller one there is nothing worth writing.
    """

    def __init__(
        self,
        node: NodeId,
        held: str,
        saved: Iterable[Part] = (),
        *,
        line: Line | None = None,
        window: int = WINDOW_PARTS,
    ) -> None:
        """Begin with what an earlier boot installed, or the operator.

        Args:
            node: The child's id.
            held: Digest of the artefact it holds; empty for none.
            saved: Parts that an earlier boot saved of another.
            line: What is known of the line to the parent.
            window: How many parts to ask for at a time.
        """
        self._node = node
        self._window = window
        self.held = held
        self._pace = Pace(GAP_S, line)
        self._wanted = ""  # digest of the artefact that is being fetched or installed
        self._fetch: Fetch | None = None
        self._saved = list(saved)  # until something is fetched
        self._afresh = True  # whether nothing of what is fetched is saved yet
        self._unfit: dict[str, str] = {}  # digest of what could not be installed, and why

    @property
    def busy(self) -> bool:
        """Whether an artefact is on its way."""
        return bool(self._wanted)

    @property
    def timer_s(self) -> float | None:
        """When ``tick`` is next due."""
        return None if self._fetch is None else self._fetch.ask_at_s

    def reason(self, digest: str) -> str:
        """Why an artefact is not held, for people."""
        here = f"{self.held[:12] or 'none'} is here"
        return self._unfit.get(digest) or f"artefact {digest[:12]} is asked for: {here}"

    def lacks(self, head: Head) -> bool:
        """Whether the head's artefact must come, and can."""
        offered = head.artefact_blob is not None and head.artefact not in self._unfit
        return head.artefact != self.held and offered

    def fetch(self, head: Head, now_s: float) -> list[Effect]:
        """Begin to fetch what the head asks for, or go on if that has begun."""
        assert head.artefact_blob is not None, "only what is offered is fetched"
        blob, fetch = head.artefact_blob, self._fetch
        if self._wanted == head.artefact and (fetch is None or fetch.blob == blob):
            return []
        try:
            fetch = self._begin(blob, now_s)
        except WireError as error:
            self.drop()
            self._unfit[head.artefact] = str(error)
            return [_unfit_note(head.artefact, str(error))]
        self._wanted = head.artefact
        fetch = self._go_on_from_saved(fetch, now_s)
        fields = {
            "artefact": head.artefact[:12], "bytes": blob.total, "parts": blob.parts,
            "here": blob.parts - fetch.left,
        }  # fmt: skip
        note = Note(level="info", event="fetching artefact", fields=fields)
        return [note, *(self._whole(fetch, now_s) or [self._ask(fetch, now_s)])]

    def drop(self) -> None:
        """Stop fetching: the head asks for no other artefact. What is being installed will be."""
        if self._fetch is not None:
            self._wanted, self._fetch = "", None

    def hear(self, part: Part, now_s: float) -> list[Effect]:
        """Take a slice of an artefact."""
        fetch = self._fetch
        if fetch is None or part.digest != fetch.blob.digest:
            return [Note(level="debug", event="stray part", fields={"part": part.part})]
        left = fetch.left
        try:
            want = fetch.add(part, now_s)
        except WireError as error:
            return self._refused(fetch, error, now_s)
        if fetch.complete:
            return self._whole(fetch, now_s)
        effects: list[Effect] = []
        if fetch.left < left and fetch.blob.parts > WINDOW_PARTS:
            effects.append(SavePart(part=part, afresh=self._afresh))
            self._afresh = False
        if want is not None:
            effects.append(self._say(want))
        return effects

    def put_off(self, now_s: float, until_s: float) -> None:
        """Do not ask again before this time: a model is coming by the same line."""
        if self._fetch is not None:
            self._fetch.put_off(now_s, until_s)

    def connected(self, now_s: float) -> list[Effect]:
        """Go on where the connection was lost: what has come is not asked for again."""
        fetch = self._fetch
        return [] if fetch is None else [self._say(fetch.again(now_s))]

    def tick(self, now_s: float) -> list[Effect]:
        """Ask again where nothing came."""
        fetch = self._fetch
        due = fetch is not None and now_s >= fetch.ask_at_s
        return [self._ask(fetch, now_s)] if fetch is not None and due else []

    def installed(self, event: Installed) -> list[Effect]:
        """Hold what was installed, or know why it cannot be."""
        if event.reason:
            self._unfit[event.artefact] = event.reason
        else:
            self.held = event.artefact
        if event.artefact == self._wanted:
            self._wanted, self._fetch = "", None
        if event.reason:
            return [_unfit_note(event.artefact, event.reason)]
        fields = {"artefact": event.artefact[:12]}
        return [Note(level="info", event="artefact installed", fields=fields)]

    def _begin(self, blob: BlobRef, now_s: float) -> Fetch:
        """Make room for an artefact of which nothing is here.

        Raises:
            WireError: If the announced numbers cannot be.
        """
        self._afresh = True
        self._fetch = Fetch(
            blob, self._pace, bytes_max=ARTEFACT_BYTES_MAX, now_s=now_s, window=self._window
        )
        return self._fetch

    def _go_on_from_saved(self, fetch: Fetch, now_s: float) -> Fetch:
        """Put what an earlier boot saved in its place, if it is of this blob, cut as it is now."""
        try:
            while self._saved:  # one by one, for they may be many megabytes
                fetch.add(self._saved.pop(), now_s)
                self._afresh = False
        except WireError:
            self._saved.clear()
            return self._begin(fetch.blob, now_s)
        return fetch

    def _whole(self, fetch: Fetch, now_s: float) -> list[Effect]:
        """Have an artefact installed once every part is here; nothing before."""
        if not fetch.complete:
            return []
        try:
            blob = fetch.take()
        except WireError as error:
            return self._refused(fetch, error, now_s)
        self._fetch = None
        return [Install(artefact=self._wanted, blob=blob)]

    def _refused(self, fetch: Fetch, error: WireError, now_s: float) -> list[Effect]:
        """Begin afresh: some part of it is not the parent's."""
        note = Note(level="warning", event="artefact refused", fields={"reason": str(error)})
        return [note, self._ask(self._begin(fetch.blob, now_s), now_s)]

    def _ask(self, fetch: Fetch, now_s: float) -> Send:
        return self._say(fetch.ask(now_s))

    def _say(self, want: Want) -> Send:
        return Send(side="up", message=want, node=self._node)


def _unfit_note(digest: str, reason: str) -> Note:
    fields = {"artefact": digest[:12], "reason": reason}
    return Note(level="warning", event="artefact not installed", fields=fields)
