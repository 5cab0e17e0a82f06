"""Asking somebody before a tool runs: one stream for our own tools and for those of MCP servers (T8)."""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable
from typing import Any, final

import msgspec
import trio
from msgspec import UNSET

from sansio_rt import RealtimeError, events

from ._sparing import SparingLog
from ._streams import Stream

__all__ = ["ApprovalRequest", "ApprovalState", "Approvals"]

_log = logging.getLogger("trio_rt.tools")

_MOST_UNREAD = 64
_MOST_REMEMBERED = 1024


class ApprovalState(enum.Enum):
    """What became of a request; all but `PENDING` are final."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    TIMED_OUT = "timed out"
    """Nobody decided in time: it counts as denied."""
    WITHDRAWN = "withdrawn"
    """The answer is not wanted any more: the reply that called was interrupted, or the session ended."""


@final
class ApprovalRequest:
    """A call that waits for a yes. Comes from `Session.approvals`; decide in trio's thread.

    Attributes:
        name: The tool.
        arguments: What it is to be called with: of a tool of ours the decoded values, of an MCP tool
            plain JSON values. They are for reading; changing them changes nothing.
        call_id: Of a call of one of our tools; else None.
        mcp_request_id: Of a request of an MCP server (its item's id); else None.
        server_label: The MCP server that has the tool; None for a tool of ours.
        state: What became of it.
        reason: Why it was denied, in the words of whoever did.
    """

    def __init__(
        self,
        name: str,
        arguments: dict[str, Any],
        *,
        call_id: str | None = None,
        mcp_request_id: str | None = None,
        server_label: str | None = None,
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.call_id = call_id
        self.mcp_request_id = mcp_request_id
        self.server_label = server_label
        self.state = ApprovalState.PENDING
        self.reason = ""
        self._settled = trio.Event()

    def __repr__(self) -> str:
        return f"<ApprovalRequest {self.name} {self.state.value}>"

    @property
    def pending(self) -> bool:
        """Whether a decision is still wanted."""
        return self.state is ApprovalState.PENDING

    def approve(self) -> bool:
        """Lets the tool run.

        Returns:
            Whether that took effect. False: it was decided, has timed out or was withdrawn before.
        """
        return self._settle(ApprovalState.APPROVED)

    def deny(self, reason: str = "") -> bool:
        """Keeps the tool from running; the model is told so.

        Args:
            reason: Why, for the model; it may be told to the caller.

        Returns:
            Whether that took effect, as for `approve`.
        """
        return self._settle(ApprovalState.DENIED, reason)

    # --- the session's side -----------------------------------------------------------------

    def withdraw(self) -> bool:
        """The session does not want the answer any more; whether that took effect, as for `approve`."""
        return self._settle(ApprovalState.WITHDRAWN)

    def expire(self, reason: str) -> bool:
        """Nobody decided in time; whether that took effect, as for `approve`."""
        return self._settle(ApprovalState.TIMED_OUT, reason)

    async def settled(self) -> None:
        """Waits until it is not pending any more."""
        await self._settled.wait()

    def _settle(self, state: ApprovalState, reason: str = "") -> bool:
        if not self.pending:
            return False
        self.state = state
        self.reason = reason
        self._settled.set()
        return True


class Approvals:
    """The requests of one session.

    Args:
        nursery: Where the requests of MCP servers wait.
        answer_mcp: Sends the answer to one of those.
        timeout_s: How long a request may wait before it counts as denied, in seconds.

    Attributes:
        stream: The requests, for the application.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        answer_mcp: Callable[[events.McpApprovalResponse], Awaitable[object]],
        *,
        timeout_s: float,
    ) -> None:
        self.stream: Stream[ApprovalRequest] = Stream(_MOST_UNREAD + 1, name="approvals")
        self._nursery = nursery
        self._log = SparingLog(_log)
        self._answer_mcp = answer_mcp
        self._timeout_s = timeout_s
        self._seen: dict[str, None] = {}
        self._mcp: list[ApprovalRequest] = []

    async def decide(self, request: ApprovalRequest) -> None:
        """Hands a request to the application and waits until it is settled, at most for the timeout.

        Cancelled, the request is withdrawn.
        """
        if len(self.stream) >= _MOST_UNREAD:
            oldest = self.stream.receive_nowait()
            if oldest.deny("there were too many requests at once"):
                self._log.warning("nobody reads session.approvals; %s was dropped", oldest)
        self.stream.put(request)
        try:
            with trio.move_on_after(self._timeout_s):
                await request.settled()
        except trio.Cancelled:
            request.withdraw()
            raise
        words = f"nobody approved it within {self._timeout_s:g} seconds"
        if request.expire(words):
            self._log.warning("%s was denied: %s (read session.approvals)", request.name, words)

    def ask_mcp(self, item: events.Item) -> None:
        """Takes in an item; the request of an MCP server is put to the application, once."""
        if not isinstance(item, events.McpApprovalRequest) or not isinstance(item.id, str):
            return
        if item.id in self._seen:
            return
        self._seen[item.id] = None
        if len(self._seen) > _MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._nursery.start_soon(self._decide_mcp, item, item.id, name=f"approval of {item.name}")

    def withdraw_mcp(self) -> None:
        """The connection is lost, and with it what MCP servers asked: no other session knows of it."""
        for request in self._mcp:
            request.withdraw()

    async def _decide_mcp(self, item: events.McpApprovalRequest, request_id: str) -> None:
        arguments = _decoded(item.arguments)
        request = ApprovalRequest(
            item.name,
            arguments or {},
            mcp_request_id=request_id,
            server_label=item.server_label,
        )
        if arguments is None:
            # What cannot be shown cannot be approved.
            self._log.warning("%s was denied: its arguments are no JSON object", item.name)
            request.deny("the arguments are no JSON object")
        else:
            self._mcp.append(request)
            try:
                await self.decide(request)
            finally:
                self._mcp.remove(request)
        if request.state is ApprovalState.WITHDRAWN:
            return
        answer = events.McpApprovalResponse(
            approval_request_id=request_id,
            approve=request.state is ApprovalState.APPROVED,
            reason=request.reason or UNSET,
        )
        try:
            await self._answer_mcp(answer)
        except RealtimeError as error:
            self._log.warning(
                "the decision on %s (%s) was not taken: %s", item.name, request_id, error
            )


def _decoded(arguments: str) -> dict[str, Any] | None:
    """The arguments of a call as a dict, or None where they are no JSON object."""
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
