"""The codec of heavy messages: the protobuf wire format, without copying the payload.

protobuf's Python runtime copies a `bytes` field whenever it is set, serialised, parsed or read. A heavy message holds
one big payload, `bytes data = 15` of a batch inside it; here that payload travels beside the message as a memoryview
and only the small rest goes through protobuf. On the wire nothing differs: any client in any language can talk to us.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

PAYLOAD_FIELD = 15
_PAYLOAD_TAG = bytes([PAYLOAD_FIELD << 3 | 2])

Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Packet:
    """A heavy message whose batch's `data` is empty, and that data as buffers to be joined."""

    message: Any
    payload: Sequence[Buffer] = ()

    @property
    def data(self) -> Buffer:
        """The payload of a packet that was received: one buffer."""
        return self.payload[0] if self.payload else b""


@cache
def heavy_fields(descriptor: Descriptor) -> dict[int, str]:
    """Number -> name of the message's fields that hold a batch with a payload."""
    return {
        field.number: field.name
        for field in descriptor.fields
        if field.message_type is not None
        and (payload := field.message_type.fields_by_number.get(PAYLOAD_FIELD)) is not None
        and payload.type == FieldDescriptor.TYPE_BYTES
    }


@cache
def method_codecs(path: str) -> tuple[type[Message], type[Message]] | None:
    """Request and response class of a method path ("/package.Service/Method") of ours; None for others."""
    service_name, _, method_name = path.strip("/").rpartition("/")
    if not service_name.startswith("syncline."):
        return None
    service = descriptor_pool.Default().FindServiceByName(service_name)
    method = service.methods_by_name[method_name]
    return GetMessageClass(method.input_type), GetMessageClass(method.output_type)


def serializer(message_class: type[Message]) -> Callable[[Any], bytes] | None:
    """Bytes of a message or Packet; None when the class is not heavy and protobuf's own will do."""
    return encode if heavy_fields(message_class.DESCRIPTOR) else None


def deserializer(message_class: type[Message]) -> Callable[[bytes], Any] | None:
    """Packet from bytes; None when the class is not heavy and protobuf's own will do."""
    if not heavy_fields(message_class.DESCRIPTOR):
        return None
    return lambda wire: decode(message_class, wire)


def encode(value: Packet | Message) -> bytes:
    """The wire bytes of a heavy message."""
    if not isinstance(value, Packet):
        return value.SerializeToString()
    message = value.message
    if not value.payload:
        return message.SerializeToString()
    number, name = next(
        (number, name) for number, name in heavy_fields(message.DESCRIPTOR).items() if message.HasField(name)
    )
    batch = getattr(message, name).SerializeToString()
    rest = type(message)()
    rest.CopyFrom(message)
    rest.ClearField(name)
    size = sum(map(len, value.payload))
    header = _PAYLOAD_TAG + _varint(size)
    return b"".join(
        (
            rest.SerializeToString(),
            _varint(number << 3 | 2),
            _varint(len(batch) + len(header) + size),
            batch,
            header,
            *value.payload,
        )
    )


def decode(message_class: type[Message], wire: bytes) -> Packet:
    """The message without its payload, and the payload as a view of `wire`.

    Raises protobuf's DecodeError, as parsing with protobuf would.
    """
    message = message_class()
    found = _find_payload(wire, heavy_fields(message_class.DESCRIPTOR))
    if found is None:  # no payload, or written in an unusual way: protobuf decides
        message.ParseFromString(wire)
        for name in heavy_fields(message_class.DESCRIPTOR).values():
            batch = getattr(message, name)
            if message.HasField(name) and batch.HasField("data"):
                payload = memoryview(batch.data)
                batch.data = b""
                return Packet(message, (payload,))
        return Packet(message)
    batch_start, length_start, batch_body, payload_tag, payload_start, payload_end, batch_end = found
    small = wire[batch_body:payload_tag] + _PAYLOAD_TAG + b"\0" + wire[payload_end:batch_end]
    message.ParseFromString(
        wire[:batch_start] + wire[batch_start:length_start] + _varint(len(small)) + small + wire[batch_end:]
    )
    return Packet(message, (memoryview(wire)[payload_start:payload_end],))


def _find_payload(wire: bytes, heavy: dict[int, str]) -> tuple[int, int, int, int, int, int, int] | None:
    """Where the one batch and its one payload lie; None unless both are there exactly once and all is well-formed."""
    batches = [field for field in _fields(wire, 0, len(wire)) if field[0] in heavy]
    if len(batches) != 1 or batches[0][1] != 2:
        return None
    _, _, batch_start, length_start, batch_body, batch_end = batches[0]
    payloads = [field for field in _fields(wire, batch_body, batch_end) if field[0] == PAYLOAD_FIELD]
    if len(payloads) != 1 or payloads[0][1] != 2:
        return None
    _, _, payload_tag, _, payload_start, payload_end = payloads[0]
    return batch_start, length_start, batch_body, payload_tag, payload_start, payload_end, batch_end


def _fields(wire: bytes, start: int, end: int) -> list[tuple[int, int, int, int, int, int]]:
    """(number, wire type, start of tag, end of tag, start of value, end of value) of each field.

    Empty when the bytes are malformed or hold groups: then protobuf has to look at them.
    """
    found, position = [], start
    while position < end:
        try:
            tag, tag_end = _read_varint(wire, position, end)
            number, kind = tag >> 3, tag & 7
            if kind == 0:
                value = tag_end
                _, value_end = _read_varint(wire, tag_end, end)
            elif kind == 2:
                length, value = _read_varint(wire, tag_end, end)
                value_end = value + length
            elif kind in (1, 5):
                value, value_end = tag_end, tag_end + (8 if kind == 1 else 4)
            else:
                return []
        except DecodeError:
            return []
        if value_end > end or number == 0:
            return []
        found.append((number, kind, position, tag_end, value, value_end))
        position = value_end
    return found


def _read_varint(wire: bytes, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= end:
            raise DecodeError("truncated varint")
        byte = wire[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise DecodeError("varint too long")


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
