"""syncline up: the five services on this machine until Ctrl-C."""

from typing import Annotated

import typer

from syncline.cli._options import DEFAULT_PORT, Data, Json
from syncline.cli._output import open_output


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the orchestrator, on localhost.")] = DEFAULT_PORT,
    data: Data = None,
    json: Json = False,
) -> None:
    """Serve on localhost until Ctrl-C."""
    from syncline.local import LocalStack  # POSIX only; the rest of the client is not

    with open_output(json) as output:
        try:
            with LocalStack(data, port, output.ready) as stack:
                output.line(f"serving on {stack.server}, Ctrl-C stops", type="serving", server=stack.server)
                stack.wait()
        except KeyboardInterrupt:
            output.line("stopped", type="stopped")
