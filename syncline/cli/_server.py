"""The server a command talks to: the one named, or services started for it."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import typer

from syncline.cli._output import Output
from syncline.client import Client
from syncline.types import Tls

_PEM = {"metavar": "FILE", "exists": True, "dir_okay": False, "readable": True, "rich_help_panel": "TLS"}

_tls: ContextVar[Tls | None] = ContextVar("tls", default=None)


def use_tls(
    tls: Annotated[
        bool,
        typer.Option(
            "--tls", envvar="SYNCLINE_TLS", rich_help_panel="TLS", help="The server speaks TLS; so the others imply."
        ),
    ] = False,
    root_certificates: Annotated[
        Path | None, typer.Option(envvar="SYNCLINE_ROOT_CERTIFICATES", help="Who signed its certificate.", **_PEM)
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(envvar="SYNCLINE_CERTIFICATE", help="Your own, if it asks for one.", **_PEM)
    ] = None,
    key: Annotated[Path | None, typer.Option(envvar="SYNCLINE_KEY", help="Of your certificate.", **_PEM)] = None,
) -> None:
    wanted = tls or root_certificates or certificate or key
    _tls.set(Tls(root_certificates, certificate, key) if wanted else None)


def connect(server: str, tenant: str = "") -> Client:
    """To a running server, as the options before the command tell."""
    return Client(server, tenant, _tls.get())


@contextlib.contextmanager
def reach(server: str | None, data: Path | None, output: Output, tenant: str = "") -> Iterator[Client]:
    with contextlib.ExitStack() as stack:
        if server is not None:
            yield stack.enter_context(connect(server, tenant))
            return
        from syncline.local import LocalStack  # POSIX only; the rest of the client is not

        own = stack.enter_context(LocalStack(data, on_ready=output.ready))
        yield stack.enter_context(Client(own.server, tenant))
