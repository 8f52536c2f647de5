"""Channels and their settings, the same for every client and server inside Syncline."""

from typing import Any

import grpc

from services.runtime import wire
from services.runtime.config import MAX_MESSAGE_BYTES

# A peer that does not answer a ping within 10 s is gone: keepalive_timeout_ms has no effect in gRPC Python, the ping
# timeout is what ends the connection.
_LIVENESS = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
]
_LIMITS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]
# A replica that comes back is found at once: gRPC's own pauses grow to two minutes.
_RECONNECT = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1_000)]
CHANNEL_OPTIONS = _LIVENESS + _LIMITS + _RECONNECT
SERVER_OPTIONS = [
    *_LIVENESS,
    *_LIMITS,
    ("grpc.so_reuseport", 0),  # a second server on the port fails loudly instead of taking half the calls
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]


class CodecChannel:
    """A channel that generated stubs can use, with the heavy messages' codec in place of protobuf's."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def unary_stream(self, method: str, **kwargs: Any) -> Any:
        return self._channel.unary_stream(method, **_with_codec(method, kwargs))

    def stream_stream(self, method: str, **kwargs: Any) -> Any:
        return self._channel.stream_stream(method, **_with_codec(method, kwargs))


def open_channel(address: str, credentials: grpc.ChannelCredentials | None = None, name: str = "") -> Any:
    """A channel to `address` ("host:port") for the generated stubs.

    With `credentials` it speaks TLS, and takes only a server whose certificate is for `name`: replicas are reached by
    addresses that no certificate can list.
    """
    if credentials is None:
        return CodecChannel(grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS))
    options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", name)]
    return CodecChannel(grpc.aio.secure_channel(address, credentials, options=options))


def _with_codec(method: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    classes = wire.method_codecs(method)
    if classes is not None:
        request, response = classes
        kwargs["request_serializer"] = wire.serializer(request) or kwargs["request_serializer"]
        kwargs["response_deserializer"] = wire.deserializer(response) or kwargs["response_deserializer"]
    return kwargs
