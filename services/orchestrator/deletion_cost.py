"""Tells Kubernetes which restorer pods have work in hand, so that scaling down takes idle ones first.

Every worker marks the pods that it keeps busy, again and again, and unmarks those that it has ceased to: where two
workers disagree for a moment the mark of the busy one comes back. Best effort, as pod-deletion-cost is.
"""

import asyncio
import time

import structlog
from kubernetes import client

from services.orchestrator.pool import Pool
from services.orchestrator.slices import connect, own_namespace
from services.runtime.streams import in_thread

_log = structlog.get_logger("deletion_cost")
ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
BUSY, IDLE = "100", "0"
_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 15.0  # after which a mark is set again
_IDLE_SECONDS = 10.0  # without work, after which a pod is idle


async def keep_marked(pool: Pool) -> None:
    """Runs until cancelled. Raises ConfigError where there is no Kubernetes."""
    pods, namespace = client.CoreV1Api(connect()), own_namespace()
    worked: dict[str, float] = {}  # pod -> time.monotonic() of its last work
    marked: dict[str, float] = {}  # pod -> time.monotonic() of its last mark
    while True:
        now = time.monotonic()
        worked |= {member.endpoint.pod: now for member in pool.known if member.outstanding and member.endpoint.pod}
        for pod, last in list(worked.items()):
            if now - last > _IDLE_SECONDS:
                await _mark(pods, namespace, pod, IDLE)
                del worked[pod]
                marked.pop(pod, None)
            elif now - marked.get(pod, -_AGAIN_SECONDS) >= _AGAIN_SECONDS:
                await _mark(pods, namespace, pod, BUSY)
                marked[pod] = now
        await asyncio.sleep(_LOOK_SECONDS)


async def _mark(pods: client.CoreV1Api, namespace: str, pod: str, cost: str) -> None:
    patch = {"metadata": {"annotations": {ANNOTATION: cost}}}
    try:
        await in_thread(lambda: pods.patch_namespaced_pod(pod, namespace, patch, _request_timeout=5))
    except Exception as error:  # the pod is gone, or the API is: scaling goes on without the mark
        _log.warning("pod not marked", pod=pod, error=str(error))
