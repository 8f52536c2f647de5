"""The policy for overlays whose files are in a bucket."""

from collections.abc import Iterator

from services.runtime.buckets import parse_address
from tests.kubernetes.policies import CONFIGS, Object, environment, gib, labels, of_kind, policies, selects

NEEDED = {("UDP", 53), ("TCP", 53), ("TCP", 443)}  # to look the bucket's name up, and to go there


def files_in_a_bucket(objects: list[Object]) -> Iterator[str]:
    """Once one service has its files there all have, in the same: with rights, a way to it, and room for copies."""
    users = [
        (item, container)
        for item in of_kind(objects, "Deployment")
        for container in item["spec"]["template"]["spec"]["containers"]
        if container["name"] in ("orchestrator", "decoder")
    ]
    if not any(_variable(container, "ARTIFACTS") in environment(container) for _, container in users):
        return
    for deployment, container in users:
        where = f"{deployment['metadata']['name']}/{container['name']}"
        address = _address(objects, container)
        try:
            parse_address(address)
        except ValueError as error:
            yield f"{where}: {address!r}: {error}"
        if not any("secretRef" in source for source in container.get("envFrom", ())):
            yield f"{where}: no credentials"
        if missing := NEEDED - _ways_out(objects, deployment):
            yield f"{where}: no way to {missing}"
        if container["name"] == "orchestrator" and "ORCHESTRATOR_DATABASE" not in environment(container):
            yield f"{where}: the jobs end with the pod"
        yield from (f"{where}: {fault}" for fault in _faults_of_copies(deployment, container))


def _address(objects: list[Object], container: Object) -> str:
    """Empty where it is named nowhere."""
    maps = {item["metadata"]["name"]: item["data"] for item in of_kind(objects, "ConfigMap")}
    for entry in container["env"]:
        if entry["name"] == _variable(container, "ARTIFACTS"):
            source = entry.get("valueFrom", {}).get("configMapKeyRef", {})
            return str(maps.get(source.get("name"), {}).get(source.get("key"), ""))
    return ""


def _ways_out(objects: list[Object], deployment: Object) -> set[tuple[str, int]]:
    return {
        (port["protocol"], port["port"])
        for policy in policies(objects)
        if selects(policy["spec"]["podSelector"].get("matchLabels", {}), labels(deployment))
        for rule in policy["spec"].get("egress", ())
        for port in rule["ports"]
    }


def _faults_of_copies(deployment: Object, container: Object) -> Iterator[str]:
    name, variables = container["name"], environment(container)
    folder = variables[_variable(container, "STORE")]
    (mount,) = (each for each in container["volumeMounts"] if each["mountPath"] == folder)
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}
    limit = volumes[mount["name"]].get("emptyDir", {}).get("sizeLimit")
    if limit is None:
        yield "copies on a volume that others share or that has no limit"
    elif gib(limit) * 2**30 <= int(variables.get(_variable(container, "CACHE_BYTES"), CONFIGS[name].cache_bytes)):
        yield f"its copies may be more than the {limit} for which it is evicted"
    if mount.get("readOnly"):
        yield "it cannot write its copies"
    others = (each for each in deployment["spec"]["template"]["spec"]["containers"] if each is not container)
    if any(each["name"] == mount["name"] for other in others for each in other["volumeMounts"]):
        yield "another container writes its copies"


def _variable(container: Object, name: str) -> str:
    return f"{container['name'].upper()}_{name}"
