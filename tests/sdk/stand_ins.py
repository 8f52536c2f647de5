"""A package `services` whose services only tell what they were given, and start and end as the real ones do."""

from pathlib import Path

SERVICES = ("decoder", "detector", "lipsync", "restorer", "orchestrator")
_SERVE = """
import concurrent.futures, json, os, pathlib, signal, sys
import grpc
from grpc_health.v1 import health, health_pb2_grpc

def serve(stage):
    data = pathlib.Path(os.environ["ORCHESTRATOR_STORE"])
    told = {key: value for key, value in os.environ.items() if key.split("_")[0].lower() in SERVICES}
    (data / f"{stage}.json").write_text(json.dumps({"pid": os.getpid(), "environment": told}))
    if stage == os.environ.get("BROKEN"):
        print('{"event": "cannot start", "error": "model face.tflite is missing: run make models"}', file=sys.stderr)
        sys.exit(1)
    # Not by a handler: each thread of a killed parent sends the signal once, and a handler interrupted by itself while
    # it sets an event never ends.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    address = os.environ[f"{stage.upper()}_HOST"] + ":" + os.environ[f"{stage.upper()}_PORT"]
    if stage == "orchestrator":
        import fakes
        with fakes.serving(fakes.FakeOrchestrator(), address):
            wait(stage)
        return
    server.add_insecure_port(address)
    server.start()
    wait(stage)

def wait(stage):
    signal.sigwait({signal.SIGTERM})
    while stage == os.environ.get("STUBBORN"):
        signal.pause()
"""


def write_stand_ins(folder: Path) -> Path:
    services = folder / "services"
    services.mkdir()
    (services / "__init__.py").touch()
    (services / "common.py").write_text(f"SERVICES = {SERVICES}\n{_SERVE}")
    for name in SERVICES:
        (services / name).mkdir()
        (services / name / "__init__.py").touch()
        (services / name / "__main__.py").write_text(f"from services.common import serve\n\nserve({name!r})\n")
    return folder
