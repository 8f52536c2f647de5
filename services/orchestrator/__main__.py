"""Start the orchestrator: python -m services.orchestrator"""

from prometheus_client import REGISTRY

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.backlog import BacklogCollector
from services.orchestrator.bucket_artifacts import BucketArtifacts
from services.orchestrator.config import OrchestratorConfig
from services.orchestrator.database import Database
from services.orchestrator.keeper import Keeper
from services.orchestrator.metrics import StagesCollector
from services.orchestrator.scaler import BacklogScaler
from services.orchestrator.servicer import BackgroundTask, OrchestratorServicer
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.orchestrator.webhook import Webhook
from services.orchestrator.worker import Worker
from services.runtime.bucket_cache import open_cache
from services.runtime.server import serve


def open_artifacts(config: OrchestratorConfig) -> ArtifactStore:
    cache = open_cache("ORCHESTRATOR_ARTIFACTS", config.artifacts, config.store, config.cache_bytes)
    if cache is None:
        return ArtifactStore(config.store, config.free_bytes)
    return BucketArtifacts(cache, config.store, config.free_bytes)


def load(config: OrchestratorConfig) -> BacklogScaler:
    artifacts = open_artifacts(config)
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
        config.keys,
    )
    background: list[BackgroundTask] = [Keeper(store, artifacts, config.keep_days * 24 * 3600)]
    if "worker" in config.roles:
        seconds = (config.lease_seconds, config.segment_seconds, config.turn_seconds, config.pace)
        background.append(Worker(store, artifacts, stages, config.deliveries, *seconds))
    if "api" in config.roles and (config.webhook or config.webhook_hosts):
        background.append(Webhook(store, config.webhook_rules, config.webhook_secret))
    rules = (config.import_rules, config.deliveries, config.webhook_rules)
    servicer = OrchestratorServicer(store, artifacts, stages, *rules, background, api="api" in config.roles)
    database = Database(config.database_url)
    REGISTRY.register(StagesCollector(stages))
    REGISTRY.register(BacklogCollector(database))
    return BacklogScaler(servicer, database, stages.pools["restorer"] if config.deletion_cost else None)


if __name__ == "__main__":
    serve("orchestrator", OrchestratorConfig, load, in_loop=True)
