"""docs/reference.md: every variable, metric and error reason, read from the code itself. python -m tools.reference"""

import ast
import importlib
import inspect
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, Metric

from services.orchestrator.backlog import BacklogCollector
from services.orchestrator.database import Database
from services.orchestrator.metrics import StagesCollector
from services.orchestrator.stages import Stages
from services.runtime import metrics
from syncline.errors import CATALOGUE

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"
SERVICES = ("orchestrator", "decoder", "detector", "lipsync", "restorer")

COMMON = {
    "SYNCLINE_LOG": ("console on a terminal, else json", "how log lines look"),
    "SYNCLINE_MANIFEST": ("models.toml beside the services", "the list of models"),
    "SYNCLINE_MODELS": ("models/ beside the services", "the folder of the model files"),
    "SYNCLINE_MODELS_OFFLINE": (
        "",
        "folders that `make models` takes files from before the network, separated as in PATH",
    ),
    "SYNCLINE_TRACE_FILE": ("", "a file that spans are appended to, as JSON, one a line"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("", "the OpenTelemetry collector that spans go to, by gRPC"),
    "OTEL_TRACES_SAMPLER": ("parentbased_always_on", "which traces are recorded, as OpenTelemetry defines"),
}
BUCKETS = {
    "AWS_REGION": (
        "us-east-1",
        "of `s3://` buckets; credentials are the other `AWS_...` variables that Amazon's tools read",
    ),
    "AWS_ENDPOINT_URL": ("Amazon's", "the S3 server of `s3://` buckets; `http://` is allowed here"),
    "GOOGLE_APPLICATION_CREDENTIALS": ("the instance's identity", "the file of credentials for `gs://` buckets"),
    "AZURE_STORAGE_ACCOUNT_NAME": ("", "of `az://` containers; credentials are the other `AZURE_...` variables"),
}
CLIENT = {
    "SYNCLINE_SERVER": ("", "HOST:PORT that the command line speaks to; without it, `run` starts its own services"),
    "SYNCLINE_TENANT": ("", "on whose behalf the command line asks"),
    "SYNCLINE_TLS": ("", "`1`: that server speaks TLS; so the three below imply"),
    "SYNCLINE_ROOT_CERTIFICATES": ("", "PEM file: who signed the server's certificate; default: whom gRPC trusts"),
    "SYNCLINE_CERTIFICATE": ("", "PEM file: the client's own certificate, for a server that asks for one"),
    "SYNCLINE_KEY": ("", "PEM file: that certificate's private key"),
}


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    lines = ["# Reference", "", "Made from the code by `make reference`; CI looks that it is in step.", ""]
    lines += ["## Variables", ""]
    for service in SERVICES:
        lines += [f"### {service}", "", "| variable | default | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {_code(default)} | {meaning} |" for name, default, meaning in variables(service)]
        lines.append("")
    for title, rows in (
        ("every service", COMMON),
        ("orchestrator and decoder, for buckets", BUCKETS),
        ("the command line", CLIENT),
    ):
        lines += [f"### {title}", "", "| variable | default | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {default} | {meaning} |" for name, (default, meaning) in rows.items()]
        lines.append("")
    lines += ["## Metrics", "", "Served as `/metrics` on `..._METRICS_PORT`, beside those of the process.", ""]
    lines += ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {kind} | {labels} | {text} |" for name, kind, labels, text in all_metrics()]
    lines += ["", "## Error reasons", ""]
    lines += ["| reason | status | tried again | meaning |", "|---|---|---|---|"]
    for reason, error in CATALOGUE.items():
        meaning = (error.__doc__ or "").splitlines()[0]
        lines.append(f"| `{reason}` | {error.code.name} | {'yes' if error.retryable else 'no'} | {meaning} |")
    return "\n".join(lines) + "\n"


def variables(service: str) -> Iterator[tuple[str, str, str]]:
    """(name, default, meaning) of all that a service reads."""
    module = importlib.import_module(f"services.{service}.config")
    yield from _fields(getattr(module, f"{service.capitalize()}Config"), f"{service.upper()}_", None)


def _fields(config: Any, prefix: str, given: Any) -> Iterator[tuple[str, str, str]]:
    comments, kinds = _comments(config), typing.get_type_hints(config)
    for field in fields(config):
        default = getattr(given, field.name) if given is not None else field.default
        if is_dataclass(kinds[field.name]):
            yield from _fields(kinds[field.name], prefix, default)
        else:
            shown = "required" if default is MISSING else str(default)
            yield f"{prefix}{field.name.upper()}", shown, comments.get(field.name, "")


def _comments(config: Any) -> dict[str, str]:
    """Each field's comment: behind it, or in the lines above it."""
    lines = inspect.getsource(config).splitlines()
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.cleandoc("\n".join(lines)))):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            _, _, behind = lines[node.lineno - 1].partition("  # ")
            above: list[str] = []
            line = node.lineno - 2
            while not behind and lines[line].strip().startswith("#"):
                above.insert(0, lines[line].strip().lstrip("# "))
                line -= 1
            found[node.target.id] = (behind or " ".join(above)).replace("|", "\\|")
    return found


def all_metrics() -> Iterator[tuple[str, str, str, str]]:
    """(name, kind, labels, meaning) of what is counted; the labels of gauges are those that samples have."""
    for family in sorted(_families(), key=lambda family: family.name):
        labels = sorted({key for sample in family.samples for key in sample.labels} - {"le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield name, family.type, ", ".join(labels), family.documentation


def _families() -> Iterator[Metric]:
    for instrument in _instruments():
        names = instrument._labelnames
        if names:
            instrument.labels(*names)  # what has never been counted shows no labels
        yield from instrument.collect()
        if names:
            instrument.remove(*names)
    yield from StagesCollector(Stages("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1")).collect()
    yield from BacklogCollector(Database("sqlite://")).collect()
    yield metrics.gpu_memory(0, 0)


def _instruments() -> list[Any]:
    """Counters, gauges and histograms of our own."""
    importlib.import_module("services.orchestrator.worker")
    instruments = {id(each): each for each in REGISTRY._names_to_collectors.values()}
    return [each for each in instruments.values() if getattr(each, "_name", "").startswith("syncline_")]


def _code(text: str) -> str:
    return f"`{text}`" if text and text != "required" else text


if __name__ == "__main__":
    main()
