"""What must hold for every rendered overlay, beside the schemas: each policy yields what is wrong."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from services.decoder.config import DecoderConfig
from services.detector.config import DetectorConfig
from services.lipsync.config import LipsyncConfig
from services.orchestrator.config import OrchestratorConfig
from services.restorer.config import RestorerConfig
from services.runtime.config import ConfigError, read_env

Object = Mapping[str, Any]
Policy = Callable[[list[Object]], Iterator[str]]

CONFIGS: dict[str, Any] = {
    "decoder": DecoderConfig,
    "detector": DetectorConfig,
    "lipsync": LipsyncConfig,
    "restorer": RestorerConfig,
    "orchestrator": OrchestratorConfig,
}
SEGMENT_SECONDS = 60  # what a segment may take at the end of a pod's life
BUILD_SECONDS = 1800  # what a TensorRT engine may take
# Peak resident memory of `make bench`, in docs/measured.md. Unit: MB.
MEASURED = {"orchestrator": 810, "decoder": 247, "lipsync": 233, "detector": 180, "restorer": 158}
# Variables that are no field of a service's own configuration.
COMMON = re.compile(r"OTEL_\w+|SYNCLINE_(LOG|MODELS|TRACE_FILE)")
PARTS_OF_A_GIB = {"Mi": 1 / 1024, "Gi": 1.0}


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [item for item in objects if item["kind"] in kinds]


def containers(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """(where, pod's spec, container)."""
    for deployment in of_kind(objects, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        for container in spec["containers"]:
            yield f"{deployment['metadata']['name']}/{container['name']}", spec, container


def environment(container: Object) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "from elsewhere") for entry in container.get("env", ())}


def labels(deployment: Object) -> dict[str, str]:
    return dict(deployment["spec"]["template"]["metadata"]["labels"])


def selects(selector: Mapping[str, str], found: Mapping[str, str]) -> bool:
    return all(found.get(key) == value for key, value in selector.items())


def gib(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * PARTS_OF_A_GIB[unit]


def ports_agree(objects: list[Object]) -> Iterator[str]:
    """Container, probes and Service have the port that the server takes by itself, and workers ask for it there."""
    defaults = {name: config.server.port for name, config in CONFIGS.items()}
    for where, _, container in containers(objects):
        name = container["name"]
        ports = {port["containerPort"] for port in container["ports"]}
        probed = {container[probe]["grpc"]["port"] for probe in PROBES if "grpc" in container.get(probe, {})}
        health = int(environment(container).get(f"{name.upper()}_HEALTH_PORT", defaults[name]))
        if defaults[name] not in ports or probed - {health}:
            yield f"{where}: serves on {defaults[name]}, says {ports}, is probed on {probed}"
        for variable, value in environment(container).items():
            stage = variable.removeprefix("ORCHESTRATOR_").lower()
            if stage in defaults and not value.endswith(f":{defaults[stage]}"):
                yield f"{where}: {variable}={value}"
    for service in of_kind(objects, "Service"):
        for port in service["spec"]["ports"]:
            if port["port"] != defaults.get(service["metadata"]["name"]):
                yield f"Service {service['metadata']['name']}: {port['port']}"


PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def probed_natively(objects: list[Object]) -> Iterator[str]:
    for where, _, container in containers(objects):
        for probe in PROBES:
            if "grpc" not in container.get(probe, {}):
                yield f"{where}: no gRPC {probe}"


def gpus_are_tolerated(objects: list[Object]) -> Iterator[str]:
    """A pod with a GPU tolerates the taint of GPU nodes, is sent to a pool, and needs no second GPU to be replaced."""
    for deployment in of_kind(objects, "Deployment"):
        spec, name = deployment["spec"]["template"]["spec"], deployment["metadata"]["name"]
        if not any("nvidia.com/gpu" in each["resources"]["limits"] for each in spec["containers"]):
            continue
        if not any(each.get("key") == "nvidia.com/gpu" for each in spec.get("tolerations", ())):
            yield f"{name}: a GPU without its toleration"
        if not spec.get("nodeSelector"):
            yield f"{name}: a GPU without a node pool"
        if deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] != 0:
            yield f"{name}: its rollout wants a GPU more than there is"


def time_to_start(objects: list[Object]) -> Iterator[str]:
    """A GPU's engine may be built for minutes before a pod is SERVING; a rollout waits for longer than that."""
    for deployment in of_kind(objects, "Deployment"):
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            probe, limits = container.get("startupProbe", {}), container["resources"]["limits"]
            patience = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
            if "nvidia.com/gpu" in limits and patience < BUILD_SECONDS:
                yield f"{deployment['metadata']['name']}: killed after {patience} s, in the middle of a build"
            if patience >= deployment["spec"].get("progressDeadlineSeconds", 600):
                yield f"{deployment['metadata']['name']}: its rollout fails while it may still start"


def time_to_end(objects: list[Object]) -> Iterator[str]:
    """The grace of the pod covers the pause before SIGTERM and the server's own grace, which covers a segment."""
    for where, spec, container in containers(objects):
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        server = float(environment(container).get(f"{container['name'].upper()}_GRACE", 0))
        if not pause:
            yield f"{where}: SIGTERM comes before the workers know"
        if server < SEGMENT_SECONDS:
            yield f"{where}: {server:g} s are no segment"
        if spec["terminationGracePeriodSeconds"] <= pause + server:
            yield f"{where}: killed after {spec['terminationGracePeriodSeconds']} s, needs {pause + server:g}"


def restricted(objects: list[Object]) -> Iterator[str]:
    """Kubernetes' restricted profile, and a root file system that nobody writes."""
    for where, spec, container in containers(objects):
        pod, own = spec.get("securityContext", {}), container.get("securityContext", {})
        if pod.get("runAsNonRoot") is not True or pod.get("runAsUser", 0) == 0:
            yield f"{where}: may be root"
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{where}: any system call"
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{where}: capabilities"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{where}: writes its root"


def sized_by_measurement(objects: list[Object]) -> Iterator[str]:
    """Requests and limits, and memory for what was measured with a quarter to spare."""
    for where, _, container in containers(objects):
        resources = container.get("resources", {})
        for kind in ("requests", "limits"):
            if {"cpu", "memory"} - resources.get(kind, {}).keys():
                yield f"{where}: no {kind}"
                return
        rendering = environment(container).get("ORCHESTRATOR_ROLES", "worker") != "api"
        needed = MEASURED[container["name"]] / 1024 * 1.25
        if rendering and gib(resources["limits"]["memory"]) < needed:
            yield f"{where}: {resources['limits']['memory']} are below the {needed:.2f} Gi needed"


def accompanied(objects: list[Object]) -> Iterator[str]:
    """Each Deployment has its disruption budget, its network policy, its account; all traffic else is denied."""
    names = {(item["kind"], item["metadata"]["name"]) for item in objects}
    if not any(not policy["spec"]["podSelector"] and "ingress" not in policy["spec"] for policy in policies(objects)):
        yield "nothing is denied by default"
    for deployment in of_kind(objects, "Deployment"):
        name = deployment["metadata"]["name"]
        if not selects(deployment["spec"]["selector"]["matchLabels"], labels(deployment)):
            yield f"{name}: selects other pods"
        budgets = of_kind(objects, "PodDisruptionBudget")
        if not any(selects(budget["spec"]["selector"]["matchLabels"], labels(deployment)) for budget in budgets):
            yield f"{name}: no PodDisruptionBudget"
        selectors = [policy["spec"]["podSelector"].get("matchLabels") for policy in policies(objects)]
        if not any(each and selects(each, labels(deployment)) for each in selectors):
            yield f"{name}: no NetworkPolicy"
        spec = deployment["spec"]["template"]["spec"]
        if ("ServiceAccount", spec.get("serviceAccountName")) not in names:
            yield f"{name}: no ServiceAccount"
        for volume in spec["volumes"]:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and ("PersistentVolumeClaim", claim) not in names:
                yield f"{name}: no claim {claim}"


def policies(objects: list[Object]) -> list[Object]:
    return of_kind(objects, "NetworkPolicy")


def in_one_namespace(objects: list[Object]) -> Iterator[str]:
    for item in objects:
        if item["kind"] != "Namespace" and item["metadata"].get("namespace") != "syncline":
            yield f"{item['kind']} {item['metadata']['name']}: in another namespace"


def known_versions(objects: list[Object]) -> Iterator[str]:
    for where, _, container in containers(objects):
        if not re.search(r"@sha256:[0-9a-f]{64}$|:\d+\.\d+\.\d+(-cuda)?$", container["image"]):
            yield f"{where}: {container['image']} may be anything"


def configured(objects: list[Object]) -> Iterator[str]:
    """Every variable is one that the service reads, with a value that it takes."""
    for where, _, container in containers(objects):
        name, variables = container["name"], environment(container)
        read: set[str] = set()
        try:
            read_env(CONFIGS[name], f"{name.upper()}_", _Noting(variables, read))
        except ConfigError as error:
            yield f"{where}: {error}"
            continue
        for variable in variables.keys() - read:
            if not COMMON.fullmatch(variable):
                yield f"{where}: {variable} is read by nobody"


class _Noting(dict[str, str]):
    """An environment that notes what it is asked for."""

    def __init__(self, values: Mapping[str, str], asked: set[str]) -> None:
        super().__init__(values)
        self._asked = asked

    def __contains__(self, key: object) -> bool:
        self._asked.add(str(key))
        return super().__contains__(key)


def credentials_where_needed(objects: list[Object]) -> Iterator[str]:
    """Only what a Role is bound to gets a token."""
    bound = {subject["name"] for binding in of_kind(objects, "RoleBinding") for subject in binding["subjects"]}
    for deployment in of_kind(objects, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        if spec.get("automountServiceAccountToken") is not (spec["serviceAccountName"] in bound):
            yield f"{deployment['metadata']['name']}: its token"


def shared_memory_fits(objects: list[Object]) -> Iterator[str]:
    """A memory-backed volume counts as its users' memory."""
    for where, spec, container in containers(objects):
        volumes = {volume["name"]: volume.get("emptyDir", {}) for volume in spec["volumes"]}
        for mount in container["volumeMounts"]:
            if volumes[mount["name"]].get("medium") == "Memory" and not (
                gib(volumes[mount["name"]].get("sizeLimit", "999Gi")) < gib(container["resources"]["limits"]["memory"])
            ):
                yield f"{where}: {mount['mountPath']} may hold more than its memory"


def scaled_by_one(objects: list[Object]) -> Iterator[str]:
    """What KEDA scales exists, and no apply resets its number; its scaler is a Service of ours."""
    deployments = {item["metadata"]["name"]: item for item in of_kind(objects, "Deployment")}
    services = {item["metadata"]["name"]: item for item in of_kind(objects, "Service")}
    for scaled in of_kind(objects, "ScaledObject"):
        target = deployments.get(scaled["spec"]["scaleTargetRef"]["name"])
        if target is None or "replicas" in target["spec"]:
            yield f"{scaled['metadata']['name']}: its Deployment is missing, or has a number of its own"
        for trigger in scaled["spec"]["triggers"]:
            host, _, port = trigger["metadata"]["scalerAddress"].rpartition(":")
            service = services.get(host.partition(".")[0])
            if service is None or int(port) not in {each["port"] for each in service["spec"]["ports"]}:
                yield f"{scaled['metadata']['name']}: nobody at {trigger['metadata']['scalerAddress']}"


def encrypted_as_a_whole(objects: list[Object]) -> Iterator[str]:
    """Once one service speaks TLS all do, with a certificate in their own name and for their peers alone."""
    certificates = {item["spec"]["secretName"]: item["spec"] for item in of_kind(objects, "Certificate")}
    for where, spec, container in containers(objects) if certificates else ():
        name, variables = container["name"], environment(container)
        given = {variable.removeprefix(f"{name.upper()}_"): value for variable, value in variables.items()}
        if "HEALTH_PORT" not in given:
            yield f"{where}: probes speak no TLS"
        secrets = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in spec["volumes"]}
        mounted = {mount["mountPath"]: secrets[mount["name"]] for mount in container["volumeMounts"]}
        ca = "STAGES_CA" if name == "orchestrator" else "TLS_CLIENT_CA"
        for variable, key in (("TLS_CERTIFICATE", "tls.crt"), ("TLS_KEY", "tls.key"), (ca, "ca.crt")):
            folder, _, file = given.get(variable, "").rpartition("/")
            if file != key or name not in certificates.get(mounted.get(folder), {}).get("dnsNames", ()):
                yield f"{where}: {variable} is no {key} of a certificate for {name}"
    for item in of_kind(objects, "ScaledObject") if certificates else ():
        if not all("authenticationRef" in trigger for trigger in item["spec"]["triggers"]):
            yield f"{item['metadata']['name']}: KEDA does not know whom to trust"


POLICIES: list[Policy] = [
    ports_agree,
    probed_natively,
    gpus_are_tolerated,
    time_to_start,
    time_to_end,
    restricted,
    sized_by_measurement,
    accompanied,
    in_one_namespace,
    known_versions,
    configured,
    credentials_where_needed,
    shared_memory_fits,
    scaled_by_one,
    encrypted_as_a_whole,
]
