"""The command `syncline`."""

import signal
import threading

import typer

from syncline.cli import batch, inspect, jobs, models, normalize, preview, run, top, up
from syncline.cli._failures import FailingGroup
from syncline.cli._server import use_tls

app = typer.Typer(
    cls=FailingGroup,
    no_args_is_help=True,
    callback=use_tls,
    pretty_exceptions_enable=False,
    help="A face video and a speech recording in, the same video with lips that say the speech out.",
)
app.command("run")(run.run)
app.command("batch")(batch.batch)
app.command("up")(up.up)
app.command("submit")(jobs.submit)
app.command("watch")(jobs.watch)
app.command("get")(jobs.get)
app.command("list")(jobs.list_)
app.command("cancel")(jobs.cancel)
app.command("retry")(jobs.retry)
app.command("replay-webhook")(jobs.replay_webhook)
app.command("delete")(jobs.delete)
app.command("estimate")(jobs.estimate)
app.command("preview")(preview.preview)
app.command("download")(jobs.download)
app.command("url")(jobs.url)
app.command("import")(jobs.import_)
app.command("inspect")(inspect.inspect)
app.command("normalize")(normalize.normalize)
app.command("top")(top.top)
app.add_typer(models.app, name="models")


def main() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops what was started, as Ctrl-C does
    app()
