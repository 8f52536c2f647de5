"""TLS between services, from PEM files that may be replaced while they run, as cert-manager does."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from services.runtime.config import ConfigError, ServerConfig

_log = structlog.get_logger("tls")


def make_server_credentials(config: ServerConfig) -> grpc.ServerCredentials:
    """What the server shows to those who connect; the files are read anew for each connection.

    Raises ConfigError for files that cannot be used. Those that become so later leave the last good ones in force.
    """

    def read() -> grpc.ServerCertificateConfiguration:
        pair = _read_pair(config.tls_certificate, config.tls_key)
        return grpc.ssl_server_certificate_configuration([pair], _read_authorities(config.tls_client_ca))

    def read_again() -> grpc.ServerCertificateConfiguration | None:
        try:
            return read()
        except ConfigError as error:
            _log.error("the certificate stays as it was", error=str(error))
            return None

    return grpc.dynamic_ssl_server_credentials(read(), read_again, bool(config.tls_client_ca))  # type: ignore[arg-type]


@dataclass(frozen=True)
class ClientKeys:
    """The files that a client of other services goes by: who signed their certificates, and its own, if it has one."""

    authorities: str
    certificate: str = ""
    key: str = ""

    def read(self) -> grpc.ChannelCredentials:
        """Of the files as they are now. Raises ConfigError for those that cannot be used."""
        key, chain = _read_pair(self.certificate, self.key) if self.certificate else (None, None)
        return grpc.ssl_channel_credentials(_read_authorities(self.authorities), key, chain)

    def age(self) -> Sequence[int]:
        """Differs once any of the files was replaced; those that are missing count as ever so old."""
        paths = [Path(name) for name in (self.authorities, self.certificate, self.key) if name]
        return [path.stat().st_mtime_ns if path.exists() else 0 for path in paths]


def _read_pair(certificate: str, key: str) -> tuple[bytes, bytes]:
    """(key, certificate and those that signed it), which belong together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        return Path(key).read_bytes(), Path(certificate).read_bytes()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{certificate} and {key} are no certificate and its key: {error}") from error


def _read_authorities(path: str) -> bytes | None:
    if not path:
        return None
    try:
        ssl.create_default_context(cafile=path)
        return Path(path).read_bytes()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{path} has no certificates: {error}") from error
