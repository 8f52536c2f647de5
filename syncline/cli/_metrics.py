"""Samples of a Prometheus page, for what a terminal shows."""

import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from syncline.errors import ServiceUnavailable

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


def fetch(url: str) -> list[Sample]:
    """Raises ServiceUnavailable."""
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return parse(answer.read().decode())
    except (OSError, ValueError) as error:
        raise ServiceUnavailable(f"no metrics at {url}: {error}") from error


def parse(page: str) -> list[Sample]:
    found = (_SAMPLE.match(line) for line in page.splitlines())
    return [Sample(each[1], dict(_LABEL.findall(each[2] or "")), float(each[3])) for each in found if each]
