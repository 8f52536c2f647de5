"""syncline models: the model files of the services on this machine."""

import os
import subprocess
import sys
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The model files of the services on this machine.")


@app.command("list")
def list_() -> None:
    """Every model of the manifest: whether it is here, its size, its licence."""
    _run("list")


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="As `list` names them. Default: the default models.")
    ] = None,
) -> None:
    """Fetch models; a download that broke off goes on where it stopped."""
    _run("fetch", *(names or []))


@app.command()
def verify() -> None:
    """Check the models that are here against their SHA-256; the exit status is 1 when one is not what it should be."""
    _run("verify")


def _run(*arguments: str) -> None:
    from syncline.local import find_services  # POSIX only; the rest of the client is not

    environment = {**os.environ, "PYTHONPATH": str(find_services())}
    command = [sys.executable, "-P", "-m", "services.runtime.fetching", *arguments]
    raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)
