"""Pictures to a stage, and back where they come back, through shared memory for peers on one host: a ring for each way.

What does not fit, or finds no room, goes inside its message as it does between hosts.
"""

from collections.abc import Sequence
from typing import Any, Self

from services.runtime.ring import RingReader, RingWriter, can_share
from services.runtime.wire import Packet
from syncline.v1 import media_pb2

_SLOT_BYTES = 16 * 1024 * 1024  # memory is taken for what is written only


class PictureRings:
    """One end's rings. Each holds as many batches as the stream's credit: a batch is written when the answer to the one
    in its slot before was read.

    `lasting`: what comes in stays as it is until it is answered, so that it may be used where it lies.
    """

    def __init__(self, incoming: RingReader | None, outgoing: RingWriter | None, lasting: bool = False) -> None:
        self._incoming, self._outgoing, self._lasting = incoming, outgoing, lasting

    @classmethod
    def offer(
        cls, terms: media_pb2.StreamTerms, transports: Sequence[int], shared_memory: str, answers: bool
    ) -> Self | None:
        """The server's end, written into the terms; None where the client cannot do that or sees other memory.

        `answers`: pictures come back, too.
        """
        if not can_share(transports, shared_memory):
            return None
        try:
            incoming = RingReader.make(terms.credits, _SLOT_BYTES)
        except OSError:
            return None
        try:
            outgoing = RingWriter.make(terms.credits, _SLOT_BYTES) if answers else None
        except OSError:
            incoming.close()
            return None
        terms.transport = media_pb2.TRANSPORT_SHARED_MEMORY
        terms.inbox.CopyFrom(incoming.message)
        if outgoing is not None:
            terms.ring.CopyFrom(outgoing.message)
        return cls(incoming, outgoing, lasting=answers)

    @classmethod
    def accept(cls, terms: media_pb2.StreamTerms) -> Self | None:
        """The client's end; None where pictures go inside messages. Raises as opening a ring does."""
        if not terms.HasField("inbox"):
            return None
        incoming = RingReader.open(terms.ring) if terms.HasField("ring") else None
        try:
            return cls(incoming, RingWriter.open(terms.inbox))
        except BaseException:
            if incoming is not None:
                incoming.close()
            raise

    def place(self, packet: Packet) -> Packet:
        """What to send for a packet: its pictures in our ring, if they find room there."""
        batch = _pictures_of(packet)
        if self._outgoing is None or batch is None or not packet.payload:
            return packet
        try:
            batch.ref.CopyFrom(self._outgoing.write(batch.sequence, packet.payload))
        except OSError:
            return packet
        return Packet(packet.message)

    def fetch(self, packet: Packet) -> Packet:
        """A packet that came, with its pictures beside it; copied if the other end soon writes over them.

        Raises Refusal INVALID_BATCH for a reference that is not what this batch's can be.
        """
        batch = _pictures_of(packet)
        if self._incoming is None or batch is None or not batch.HasField("ref"):
            return packet
        pictures = self._incoming.read(batch.sequence, batch.ref)
        return Packet(packet.message, (pictures if self._lasting else bytes(pictures),))

    def close(self) -> None:
        for ring in (self._incoming, self._outgoing):
            if ring is not None:
                ring.close()


def _pictures_of(packet: Packet) -> Any:
    """The packet's FrameBatch or CropBatch, or None."""
    kind = packet.message.WhichOneof("message")
    part = getattr(packet.message, kind) if kind else None
    return part if isinstance(part, media_pb2.FrameBatch | media_pb2.CropBatch) else None
