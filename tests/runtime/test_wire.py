"""The codec of heavy messages against protobuf itself."""

from random import Random

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from services.runtime import wire
from services.runtime.wire import Packet
from syncline.v1 import decoder_pb2, detector_pb2, lipsync_pb2, media_pb2, restorer_pb2

payloads = st.binary(max_size=300)


@st.composite
def requests(draw: st.DrawFn) -> restorer_pb2.RestoreRequest:
    request = restorer_pb2.RestoreRequest()
    if draw(st.booleans()):
        request.strength = draw(st.floats(0, 1, width=32))
    if draw(st.booleans()):
        request.open.engine = draw(st.text(max_size=5))
    else:
        request.crops.sequence = draw(st.integers(0, 2**64 - 1))
        request.crops.width = draw(st.integers(0, 600))
        for frame in draw(st.lists(st.integers(0, 10**6), max_size=3)):
            request.crops.crops.add(frame=frame)
        if draw(st.booleans()):
            request.crops.data = draw(payloads)
    return request


def whole(packet: Packet) -> bytes:
    """The message with its payload put back, as protobuf would have it."""
    message = type(packet.message)()
    message.CopyFrom(packet.message)
    if packet.payload:
        for name in wire.heavy_fields(message.DESCRIPTOR).values():
            if message.HasField(name):
                getattr(message, name).data = bytes(packet.data)
    return message.SerializeToString(deterministic=True)


@given(requests())
def test_decode_agrees_with_protobuf(request_: restorer_pb2.RestoreRequest) -> None:
    packet = wire.decode(restorer_pb2.RestoreRequest, request_.SerializeToString())
    assert whole(packet) == request_.SerializeToString(deterministic=True)


UNKNOWN = st.sampled_from([(2000, "varint"), (2001, "bytes"), (2002, "fixed32"), (2003, "fixed64")])


def encode_unknown(number: int, kind: str) -> bytes:
    """A field that no message here has."""
    wire_type, value = {
        "varint": (0, b"\x96\x01"),
        "bytes": (2, b"\x03abc"),
        "fixed32": (5, bytes(4)),
        "fixed64": (1, bytes(8)),
    }[kind]
    tag, encoded = number << 3 | wire_type, bytearray()
    while tag >= 0x80:
        encoded.append(tag & 0x7F | 0x80)
        tag >>= 7
    return bytes([*encoded, tag]) + value


@given(requests(), st.lists(UNKNOWN, max_size=3), st.randoms(use_true_random=False))
def test_fields_in_any_order_and_unknown_ones_fare_as_with_protobuf(
    request_: restorer_pb2.RestoreRequest, unknown: list[tuple[int, str]], random: Random
) -> None:
    """Within the batch and around it."""
    batch = [*split_fields(request_.crops), *(encode_unknown(*field) for field in unknown)]
    random.shuffle(batch)
    rest = restorer_pb2.RestoreRequest()
    rest.CopyFrom(request_)
    rest.ClearField("crops")
    fields = [*split_fields(rest), *(encode_unknown(*field) for field in unknown)]
    if request_.HasField("crops"):
        head = restorer_pb2.RestoreRequest(crops=media_pb2.CropBatch()).SerializeToString()[:1]
        fields.append(head + encode_length(b"".join(batch)))
    random.shuffle(fields)
    written = b"".join(fields)
    expected = restorer_pb2.RestoreRequest.FromString(written)
    assert whole(wire.decode(restorer_pb2.RestoreRequest, written)) == expected.SerializeToString(deterministic=True)


def split_fields(message: Message) -> list[bytes]:
    """The message's fields, each as it is written by itself."""
    parts = []
    for field, value in message.ListFields():
        alone = type(message)()
        if field.is_repeated:
            getattr(alone, field.name).extend(value)
        elif field.message_type is not None:
            getattr(alone, field.name).CopyFrom(value)
        else:
            setattr(alone, field.name, value)
        parts.append(alone.SerializeToString())
    return parts


def encode_length(content: bytes) -> bytes:
    """The content behind its length."""
    return (
        len(content).to_bytes(1, "big") + content
        if len(content) < 128
        else bytes([len(content) & 0x7F | 0x80, len(content) >> 7]) + content
    )


@given(requests(), st.lists(payloads, min_size=1, max_size=3))
def test_protobuf_reads_what_encode_writes(request_: restorer_pb2.RestoreRequest, parts: list[bytes]) -> None:
    if not request_.HasField("crops"):
        parts = []
    request_.crops.ClearField("data") if request_.HasField("crops") else None
    written = wire.encode(Packet(request_, [memoryview(part) for part in parts]))
    read = restorer_pb2.RestoreRequest.FromString(written)
    assert read.crops.data == b"".join(parts)
    read.crops.ClearField("data") if read.HasField("crops") else None
    assert read == request_


@given(requests(), st.data())
def test_every_truncation_fares_as_with_protobuf(request_: restorer_pb2.RestoreRequest, data: st.DataObject) -> None:
    written = request_.SerializeToString()
    cut = written[: data.draw(st.integers(0, len(written)))]
    try:
        expected = restorer_pb2.RestoreRequest.FromString(cut)
    except DecodeError:
        with pytest.raises(DecodeError):
            wire.decode(restorer_pb2.RestoreRequest, cut)
    else:
        assert whole(wire.decode(restorer_pb2.RestoreRequest, cut)) == expected.SerializeToString(deterministic=True)


@given(st.binary(max_size=60))
def test_any_bytes_fare_as_with_protobuf(garbage: bytes) -> None:
    try:
        expected = restorer_pb2.RestoreRequest.FromString(garbage)
    except DecodeError:
        with pytest.raises(DecodeError):
            wire.decode(restorer_pb2.RestoreRequest, garbage)
    else:
        decoded = whole(wire.decode(restorer_pb2.RestoreRequest, garbage))
        assert restorer_pb2.RestoreRequest.FromString(decoded) == expected


def test_a_batch_in_two_pieces_is_merged_as_protobuf_does() -> None:
    first = restorer_pb2.RestoreRequest(crops=media_pb2.CropBatch(sequence=7, data=b"old"))
    second = restorer_pb2.RestoreRequest(crops=media_pb2.CropBatch(width=9, data=b"new"))
    packet = wire.decode(restorer_pb2.RestoreRequest, first.SerializeToString() + second.SerializeToString())
    assert (packet.message.crops.sequence, packet.message.crops.width, bytes(packet.data)) == (7, 9, b"new")


def test_the_payload_is_a_view_of_the_message() -> None:
    data = bytes(range(256)) * 1000
    written = restorer_pb2.RestoreRequest(crops=media_pb2.CropBatch(data=data)).SerializeToString()
    packet = wire.decode(restorer_pb2.RestoreRequest, written)
    assert isinstance(packet.data, memoryview)
    assert packet.data.obj is written
    assert packet.data == data


def test_heavy_messages_are_those_with_payloads() -> None:
    assert set(wire.heavy_fields(lipsync_pb2.PlanRequest.DESCRIPTOR).values()) == {"prepared", "speech"}
    assert not wire.heavy_fields(detector_pb2.DetectResponse.DESCRIPTOR)
    assert wire.deserializer(decoder_pb2.DecodeFramesRequest) is None
    assert wire.method_codecs("/syncline.v1.DecoderService/DecodeFrames") == (
        decoder_pb2.DecodeFramesRequest,
        decoder_pb2.DecodeFramesResponse,
    )
