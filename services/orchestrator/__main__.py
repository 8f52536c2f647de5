"""Start the orchestrator: python -m services.orchestrator"""

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.config import OrchestratorConfig
from services.orchestrator.keeper import Keeper
from services.orchestrator.servicer import BackgroundTask, OrchestratorServicer
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.orchestrator.webhook import Webhook
from services.orchestrator.worker import Worker
from services.runtime.server import serve


def load(config: OrchestratorConfig) -> OrchestratorServicer:
    artifacts = ArtifactStore(config.store, config.free_bytes)
    store = JobStore(config.database_url, config.limits)
    store.take_alone()
    stages = Stages(config.decoder, config.detector, config.lipsync, config.restorer, config.stall_seconds)
    background: list[BackgroundTask] = [Keeper(store, artifacts, config.keep_days * 24 * 3600)]
    if "worker" in config.roles:
        seconds = (config.lease_seconds, config.segment_seconds, config.turn_seconds)
        background.append(Worker(store, artifacts, stages, *seconds))
    if "api" in config.roles and config.webhook:
        background.append(Webhook(store, config.webhook, config.webhook_secret))
    return OrchestratorServicer(store, artifacts, stages, config.import_rules, background, api="api" in config.roles)


if __name__ == "__main__":
    serve("orchestrator", OrchestratorConfig, load)
