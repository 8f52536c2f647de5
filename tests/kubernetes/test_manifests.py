"""Every overlay, rendered and validated offline; and every policy seen to find fault with a broken copy."""

import copy
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.kubernetes import custom, policies
from tests.kubernetes.bucket import files_in_a_bucket
from tests.kubernetes.policies import Policy
from tools.crds import DEFINITIONS, path_of

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("local", "gpu-split", "production")
VERSIONS = ("1.32", "1.36")  # of Kubernetes: the oldest and the newest that are supported
POLICIES = [*policies.POLICIES, files_in_a_bucket]
CUSTOM = set(DEFINITIONS)  # kinds of operators

Objects = list[dict[str, Any]]

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders the overlays")


@cache
def rendered(overlay: str) -> Objects:
    command = ["kubectl", "kustomize", f"k8s/overlays/{overlay}"]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [item for item in yaml.safe_load_all(text) if item]


def render(overlay: str) -> Objects:
    """A copy to be broken."""
    return copy.deepcopy(rendered(overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_hold(overlay: str, version: str) -> None:
    for item in render(overlay):
        if item["kind"] in CUSTOM:
            continue
        kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("kind", sorted(CUSTOM))
def test_the_published_definitions_hold(kind: str) -> None:
    if not path_of(kind).exists():
        pytest.skip(f"no definition of {kind} is here: `make manifests` fetches it")
    items = [item for item in render("production") if item["kind"] == kind]
    assert items
    for item in items:
        custom.validate(item)


@pytest.mark.parametrize(
    ("kind", "breaking", "told"),
    [
        ("ScaledObject", lambda spec: spec.update(cooldown=600), "'cooldown' was unexpected"),
        ("ScaledObject", lambda spec: spec["triggers"][0].pop("metadata"), "'metadata' is a required property"),
        ("PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(interval="soon"), "'soon' does not match"),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].update(labels={"a": 1}), "1 is not of type"),
        ("Certificate", lambda spec: spec["issuerRef"].update(namespace="x"), "'namespace' was unexpected"),
    ],
)  # fmt: skip
def test_the_published_definitions_have_teeth(kind: str, breaking: Callable[[Any], Any], told: str) -> None:
    if not path_of(kind).exists():
        pytest.skip(f"no definition of {kind} is here: `make manifests` fetches it")
    item = next(item for item in render("production") if item["kind"] == kind)
    breaking(item["spec"])
    with pytest.raises(jsonschema.ValidationError, match=told):
        custom.validate(item)


def test_the_schemas_have_teeth() -> None:
    deployment = next(item for item in render("local") if item["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
def test_the_policies_hold(overlay: str, policy: Policy) -> None:
    assert not list(policy(render(overlay)))


def test_overlays_are_what_they_say() -> None:
    def kinds(overlay: str) -> set[str]:
        return {item["kind"] for item in render(overlay)}

    assert "ScaledObject" not in kinds("gpu-split")
    assert kinds("production") >= CUSTOM
    for overlay, gpus in (("local", 0), ("gpu-split", 1), ("production", 1)):
        limits = [each["resources"]["limits"] for _, _, each in policies.containers(render(overlay))]
        assert sum("nvidia.com/gpu" in each for each in limits) == gpus, overlay


def find(objects: Objects, kind: str, name: str) -> Any:
    return next(item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name))


def pod(objects: Objects, name: str) -> Any:
    return find(objects, "Deployment", name)["spec"]["template"]["spec"]


def container(objects: Objects, name: str, number: int = 0) -> Any:
    return pod(objects, name)["containers"][number]


def mount(objects: Objects, name: str, path: str, number: int = 0) -> Any:
    return next(each for each in container(objects, name, number)["volumeMounts"] if each["mountPath"] == path)


def bucket(objects: Objects) -> Any:
    return next(item for item in objects if item["metadata"]["name"].startswith("syncline-s3-"))


def volume(objects: Objects, name: str, wanted: str) -> Any:
    return next(each["emptyDir"] for each in pod(objects, name)["volumes"] if each["name"] == wanted)


def set_env(objects: Objects, name: str, variable: str, value: str) -> None:
    unset_env(objects, name, variable)
    container(objects, name)["env"].append({"name": variable, "value": value})


def unset_env(objects: Objects, name: str, variable: str) -> None:
    entries = container(objects, name)["env"]
    entries[:] = [entry for entry in entries if entry["name"] != variable]


def drop(objects: Objects, kind: str, name: str) -> None:
    objects.remove(find(objects, kind, name))


Breaking = Callable[[Objects], Any]
BROKEN: list[tuple[Policy, Breaking]] = [
    (policies.ports_agree, lambda o: container(o, "lipsync")["ports"][0].update(containerPort=50050)),
    (policies.ports_agree, lambda o: container(o, "lipsync")["livenessProbe"]["grpc"].update(port=1)),
    (policies.ports_agree, lambda o: find(o, "Service", "decoder")["spec"]["ports"][0].update(port=50052)),
    (policies.ports_agree, lambda o: set_env(o, "worker", "ORCHESTRATOR_RESTORER", "kubernetes:restorer:50053")),
    (policies.probed_natively, lambda o: container(o, "restorer").pop("startupProbe")),
    (policies.gpus_are_tolerated, lambda o: pod(o, "restorer").pop("tolerations")),
    (policies.gpus_are_tolerated, lambda o: pod(o, "restorer").pop("nodeSelector")),
    (policies.gpus_are_tolerated, lambda o: find(o, "Deployment", "restorer")["spec"]["strategy"].update(
        rollingUpdate={"maxSurge": 1})),
    (policies.time_to_start, lambda o: container(o, "restorer")["startupProbe"].update(failureThreshold=300)),
    (policies.time_to_start, lambda o: find(o, "Deployment", "restorer")["spec"].pop("progressDeadlineSeconds")),
    (policies.time_to_end, lambda o: pod(o, "worker").update(terminationGracePeriodSeconds=30)),
    (policies.time_to_end, lambda o: container(o, "lipsync").pop("lifecycle")),
    (policies.time_to_end, lambda o: set_env(o, "lipsync", "LIPSYNC_GRACE", "5")),
    (policies.restricted, lambda o: pod(o, "decoder")["securityContext"].pop("runAsNonRoot")),
    (policies.restricted, lambda o: pod(o, "decoder")["securityContext"].pop("seccompProfile")),
    (policies.restricted, lambda o: container(o, "worker", 1)["securityContext"].pop("capabilities")),
    (policies.restricted, lambda o: container(o, "detector")["securityContext"].pop("readOnlyRootFilesystem")),
    (policies.sized_by_measurement, lambda o: container(o, "detector")["resources"].pop("limits")),
    (policies.sized_by_measurement, lambda o: container(o, "worker")["resources"]["limits"].update(memory="512Mi")),
    (policies.accompanied, lambda o: drop(o, "PodDisruptionBudget", "worker")),
    (policies.accompanied, lambda o: drop(o, "NetworkPolicy", "restorer")),
    (policies.accompanied, lambda o: drop(o, "NetworkPolicy", "deny")),
    (policies.accompanied, lambda o: drop(o, "ServiceAccount", "decoder")),
    (policies.accompanied, lambda o: drop(o, "PersistentVolumeClaim", "syncline-models")),
    (policies.accompanied, lambda o: find(o, "Deployment", "lipsync")["spec"]["selector"].update(
        matchLabels={"app": "other"})),
    (policies.in_one_namespace, lambda o: find(o, "Role", "orchestrator")["metadata"].pop("namespace")),
    (policies.known_versions, lambda o: container(o, "lipsync").update(image="syncline-lipsync:latest")),
    (policies.configured, lambda o: set_env(o, "lipsync", "LIPSYNC_GRACES", "60")),
    (policies.configured, lambda o: set_env(o, "lipsync", "LIPSYNC_GRACE", "a minute")),
    (policies.credentials_where_needed, lambda o: pod(o, "restorer").update(automountServiceAccountToken=True)),
    (policies.credentials_where_needed, lambda o: drop(o, "RoleBinding", "orchestrator")),
    (policies.shared_memory_fits, lambda o: volume(o, "worker", "frames").update(sizeLimit="64Gi")),
    (policies.scaled_by_one, lambda o: find(o, "Deployment", "restorer")["spec"].update(replicas=2)),
    (policies.scaled_by_one, lambda o: drop(o, "Service", "orchestrator")),
    (policies.encrypted_as_a_whole, lambda o: drop(o, "Certificate", "lipsync")),
    (policies.encrypted_as_a_whole, lambda o: set_env(o, "lipsync", "LIPSYNC_TLS_KEY", "/tls/ca.crt")),
    (policies.encrypted_as_a_whole, lambda o: unset_env(o, "worker", "ORCHESTRATOR_STAGES_CA")),
    (policies.encrypted_as_a_whole, lambda o: unset_env(o, "lipsync", "LIPSYNC_HEALTH_PORT")),
    (policies.encrypted_as_a_whole, lambda o: find(o, "ScaledObject", "restorer")["spec"]["triggers"][0].pop(
        "authenticationRef")),
    (files_in_a_bucket, lambda o: unset_env(o, "decoder", "DECODER_ARTIFACTS")),
    (files_in_a_bucket, lambda o: bucket(o)["data"].update(url="https://bucket")),
    (files_in_a_bucket, lambda o: o.remove(bucket(o))),
    (files_in_a_bucket, lambda o: container(o, "worker", 1).pop("envFrom")),
    (files_in_a_bucket, lambda o: find(o, "NetworkPolicy", "decoder")["spec"].pop("egress")),
    (files_in_a_bucket, lambda o: find(o, "NetworkPolicy", "worker")["spec"]["egress"].pop()),
    (files_in_a_bucket, lambda o: unset_env(o, "orchestrator", "ORCHESTRATOR_DATABASE")),
    (files_in_a_bucket, lambda o: unset_env(o, "orchestrator", "ORCHESTRATOR_CACHE_BYTES")),
    (files_in_a_bucket, lambda o: volume(o, "decoder", "data").pop("sizeLimit")),
    (files_in_a_bucket, lambda o: mount(o, "decoder", "/data").update(readOnly=True)),
    (files_in_a_bucket, lambda o: mount(o, "worker", "/data", 1).update(name="data")),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "breaking"), BROKEN, ids=[f"{p.__name__}-{n}" for n, (p, _) in enumerate(BROKEN)])
def test_the_policies_have_teeth(policy: Policy, breaking: Breaking) -> None:
    objects = render("production")
    assert not list(policy(objects))
    breaking(objects)
    assert list(policy(objects))


def test_every_policy_was_seen_to_bite() -> None:
    assert {policy for policy, _ in BROKEN} == set(POLICIES)
