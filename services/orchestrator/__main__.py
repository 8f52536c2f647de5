"""Start the orchestrator: python -m services.orchestrator"""

from prometheus_client import REGISTRY

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.backlog import BacklogCollector
from services.orchestrator.config import OrchestratorConfig
from services.orchestrator.database import Database
from services.orchestrator.keeper import Keeper
from services.orchestrator.metrics import StagesCollector
from services.orchestrator.scaler import BacklogScaler
from services.orchestrator.servicer import OrchestratorServicer
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.orchestrator.worker import Worker
from services.runtime.server import serve


def load(config: OrchestratorConfig) -> BacklogScaler:
    artifacts = ArtifactStore(config.store, config.free_bytes)
    store = JobStore(config.database_url, config.limits)
    store.take_alone()
    stages = Stages(
        config.decoder,
        config.detector,
        config.lipsync,
        config.restorer,
        config.stall_seconds,
        config.wait_seconds,
        config.zone,
    )
    keeper = Keeper(store, artifacts, config.keep_days * 24 * 3600)
    worker = None
    if "worker" in config.roles:
        worker = Worker(store, artifacts, stages, config.lease_seconds, config.segment_seconds)
    imports = config.import_rules
    servicer = OrchestratorServicer(store, artifacts, stages, keeper, worker, imports, api="api" in config.roles)
    database = Database(config.database_url)
    REGISTRY.register(StagesCollector(stages))
    REGISTRY.register(BacklogCollector(database))
    return BacklogScaler(servicer, database, stages.pools["restorer"] if config.deletion_cost else None)


if __name__ == "__main__":
    serve("orchestrator", OrchestratorConfig, load)
