"""The orchestrator's configuration, from ORCHESTRATOR_... variables."""

from dataclasses import dataclass
from pathlib import Path

from services.orchestrator.delivering import Deliveries
from services.orchestrator.importing import ImportRules
from services.orchestrator.records import Limits
from services.orchestrator.webhook import WebhookRules
from services.runtime.buckets import Address, parse_address
from services.runtime.config import ConfigError, ServerConfig
from services.runtime.tls import ClientKeys


@dataclass(frozen=True)
class OrchestratorConfig:
    store: Path  # folder of the artifacts, and of the job database unless `database` says otherwise
    # Bucket of the artifacts, for several hosts: "s3://name/prefix", "gs://name", "az://container"; empty: none. The
    # folder then holds copies. Endpoint and credentials are in AWS_..., GOOGLE_... or AZURE_... variables.
    artifacts: str = ""
    cache_bytes: int = 50 << 30  # about how large the copies of what is in the bucket may grow
    database: str = ""  # SQLAlchemy URL; default: jobs.db in `store`
    roles: str = "api,worker"  # one of them, or both: serves clients; makes videos
    # Where the stage's replicas are: "host:port", several separated by commas, "dns:host:port" for every address of a
    # name, "kubernetes:service:port" for the pods behind a Service.
    decoder: str = "127.0.0.1:50051"
    detector: str = "127.0.0.1:50052"  # as for the decoder
    lipsync: str = "127.0.0.1:50053"  # as for the decoder
    restorer: str = "127.0.0.1:50054"  # as for the decoder
    stages_ca: str = ""  # PEM file: who signed the stages' certificates; empty: they speak no TLS
    lease_seconds: float = 30.0  # a worker that is silent for so long has lost its job
    stall_seconds: float = 120.0  # a stage that is silent for so long has failed
    wait_seconds: float = 60.0  # so long work waits for a stage that has no replica ready
    zone: str = ""  # where this process runs: replicas of the same zone are preferred
    deletion_cost: bool = False  # restorer pods with work in hand are marked to be the last that scaling down takes
    segment_seconds: float = 4.0  # of video that a crash loses at most; the same for all workers
    turn_seconds: float = 10.0  # of rendering, after which a job lets another one that waits go first
    # Share of its own speed at which a job goes on while others as urgent, of a quarter of its work or less, are made
    # on this store; 1: at full speed, for hosts that have processors of their own for every worker. 0.05 to 1.
    pace: float = 0.25
    import_root: str = ""  # folder of the files that clients may name instead of sending them; empty: none
    import_hosts: str = ""  # whose https addresses clients may name: "cdn.example.com,*.example.org"; empty: none
    import_buckets: str = ""  # what clients may name of buckets: "s3://footage,gs://news/public"; empty: nothing
    import_bytes: int = 20 << 30  # most that one import may have
    output_buckets: str = ""  # where jobs may write their videos: "s3://results,s3://cdn/videos"; empty: nowhere
    webhook: str = ""  # address that is told of every change of a job's state; empty: none
    webhook_hosts: str = ""  # of the https addresses that jobs may name to be told instead; as import_hosts
    webhook_secret: str = ""  # what its messages are signed with
    keep_days: float = 30.0  # for which ended jobs, their results, and uploads not used since are kept
    free_bytes: int = 1 << 30  # of the store's disk that uploads and new jobs leave free
    max_jobs: int = 10_000  # that have not ended; further ones are refused
    tenant_jobs: int = 0  # of one tenant that have not ended; 0: no limit
    tenant_minutes: float = 0.0  # of video of one tenant's jobs of the last 24 hours; 0: no limit
    tenant_bytes: int = 0  # of one tenant's uploads that are kept; 0: no limit
    server: ServerConfig = ServerConfig(port=50050)

    def __post_init__(self) -> None:
        if self.webhook and not self.webhook.startswith(("https://", "http://")):
            raise ConfigError(f"ORCHESTRATOR_WEBHOOK={self.webhook!r} is no web address")
        if (self.webhook or self.webhook_hosts) and not self.webhook_secret:
            raise ConfigError("ORCHESTRATOR_WEBHOOK_SECRET is not set: what webhooks are told is signed")
        if not 0.05 <= self.pace <= 1:
            raise ConfigError(f"ORCHESTRATOR_PACE={self.pace} is not from 0.05 to 1")
        for name in ("import_buckets", "output_buckets"):
            _parse_buckets(f"ORCHESTRATOR_{name.upper()}", getattr(self, name))
        unknown = set(self.roles.split(",")) - {"api", "worker"}
        if unknown:
            raise ConfigError(f"ORCHESTRATOR_ROLES={self.roles!r}: the roles are api and worker, separated by a comma")

    @property
    def keys(self) -> ClientKeys | None:
        """To the stages it shows the certificate that it shows to its clients."""
        if not self.stages_ca:
            return None
        return ClientKeys(self.stages_ca, self.server.tls_certificate, self.server.tls_key)

    @property
    def limits(self) -> Limits:
        return Limits(self.max_jobs, self.tenant_jobs, self.tenant_minutes, self.tenant_bytes)

    @property
    def import_rules(self) -> ImportRules:
        root = Path(self.import_root) if self.import_root else None
        buckets = _parse_buckets("ORCHESTRATOR_IMPORT_BUCKETS", self.import_buckets)
        return ImportRules(root, _split_hosts(self.import_hosts), buckets, self.import_bytes)

    @property
    def deliveries(self) -> Deliveries:
        return Deliveries(_parse_buckets("ORCHESTRATOR_OUTPUT_BUCKETS", self.output_buckets))

    @property
    def webhook_rules(self) -> WebhookRules:
        return WebhookRules(self.webhook, _split_hosts(self.webhook_hosts))

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{(self.store / 'jobs.db').absolute()}"


def _parse_buckets(name: str, text: str) -> tuple[Address, ...]:
    try:
        return tuple(parse_address(uri.strip()) for uri in text.split(",") if uri.strip())
    except ValueError as error:
        raise ConfigError(f"{name}={text!r}: {error}") from error


def _split_hosts(names: str) -> tuple[str, ...]:
    return tuple(host.strip().lower() for host in names.split(",") if host.strip())
