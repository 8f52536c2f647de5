"""The definitions of the custom resources in k8s/, as published, into build/crds: python -m tools.crds

They are no part of this repository. Where they cannot be fetched, the tests that want them are skipped.
"""

import hashlib
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "crds"

_GITHUB = "https://raw.githubusercontent.com"
_KEDA = f"{_GITHUB}/kedacore/keda/v2.20.2/config/crd/bases/keda.sh"
_PROMETHEUS = f"{_GITHUB}/prometheus-operator/kube-prometheus/v0.18.0/manifests/setup"
_CERT_MANAGER = f"{_GITHUB}/cert-manager/cert-manager/v1.21.1/deploy/crds/cert-manager.io"
# Kind -> where its definition is, and its SHA-256.
DEFINITIONS = {
    "ScaledObject": (
        f"{_KEDA}_scaledobjects.yaml",
        "af35555862a83933b074af14ad439c4b4ceabaf4daa3e9338e9b23e36d308d80",
    ),
    "TriggerAuthentication": (
        f"{_KEDA}_triggerauthentications.yaml",
        "275307b4cb19ca8f0f506a879282aa4c67587ac16ec757f494d6585c5c185d65",
    ),
    "PodMonitor": (
        f"{_PROMETHEUS}/0podmonitorCustomResourceDefinition.yaml",
        "8b11480268f6bde4413b4e7329859bdd6c78b20f5916dac0d388566920d5fe39",
    ),
    "PrometheusRule": (
        f"{_PROMETHEUS}/0prometheusruleCustomResourceDefinition.yaml",
        "f415488dee5197944ef9dd66b31ca2adeb23a1026f82b85a85748df5191fc70b",
    ),
    "Certificate": (
        f"{_CERT_MANAGER}_certificates.yaml",
        "7ad91029c00ec959d54215b19d3b1a9b7e0247eaa60f987151c2b70d8661f8af",
    ),
    "Issuer": (
        f"{_CERT_MANAGER}_issuers.yaml",
        "05e37efb02777e0362d24269fa103c2fc11419f9c85e31854ef873e5d9e5c5cc",
    ),
}
_SECONDS = 30.0  # that an answer may take


def path_of(kind: str) -> Path:
    """Where a kind's definition lies once it was fetched: named by its hash, for another release is fetched anew."""
    return FOLDER / f"{kind}-{DEFINITIONS[kind][1][:12]}.yaml"


def main() -> None:
    """Exits 1 for a file that is not what it should be; being offline is no failure."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for kind, (url, digest) in DEFINITIONS.items():
        if path_of(kind).exists():
            continue
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
                content = answer.read()
        except OSError as error:
            print(f"{kind} is not validated: {url} cannot be fetched ({error})", file=sys.stderr)
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            sys.exit(f"{url} does not have the SHA-256 {digest}")
        path_of(kind).write_bytes(content)


if __name__ == "__main__":
    main()
