"""How frames leave the decoder: inside the messages, or through a ring in memory that both ends see."""

import contextlib
from collections.abc import Sequence

from services.runtime.convert import from_frames
from services.runtime.frames import Frame
from services.runtime.ring import RingWriter, can_share
from services.runtime.wire import Buffer
from syncline.v1 import decoder_pb2 as pb
from syncline.v1 import media_pb2


class FrameOutlet:
    """One stream's. `ring` is None when frames go inline."""

    def __init__(self, wanted: pb.DecodeFramesOpen, slots: int, slot_bytes: int) -> None:
        self.ring: RingWriter | None = None
        if can_share(wanted.transports, wanted.shared_memory):
            with contextlib.suppress(OSError):
                self.ring = RingWriter.make(slots, slot_bytes)

    def grant(self, terms: media_pb2.StreamTerms) -> media_pb2.StreamTerms:
        """The terms with the ring, if there is one: its client opens it, then gives credit for all slots."""
        if self.ring is not None:
            terms.transport, terms.credits = media_pb2.TRANSPORT_SHARED_MEMORY, 0
            terms.ring.CopyFrom(self.ring.message)
        return terms

    def pack(self, sequence: int, frames: Sequence[Frame]) -> tuple[media_pb2.FrameBatch, Sequence[Buffer]]:
        """The batch, and what of its payload goes with the message."""
        batch, payload = from_frames(sequence, frames)
        if self.ring is None:
            return batch, payload
        try:
            batch.ref.CopyFrom(self.ring.write(sequence, payload))
        except OSError:  # no room: a container's /dev/shm has 64 MiB unless told otherwise
            return batch, payload
        return batch, ()

    def close(self) -> None:
        if self.ring is not None:
            self.ring.close()
