"""The Dockerfile, read: no container engine is needed to see that it names what is there."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.kubernetes.policies import CONFIGS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text()


def test_every_stage_has_its_dependency_group() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert CONFIGS.keys() <= groups.keys()
    named = set(re.findall(r"--group (\w+)", TEXT))
    assert named <= groups.keys()


@pytest.mark.parametrize("stage", CONFIGS)
def test_what_is_copied_is_there_and_not_ignored(stage: str) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.MULTILINE):
        for source in sources.replace("${STAGE}", stage).split():
            assert (ROOT / source).exists(), source
            assert source.partition("/")[0] in allowed, source


def test_the_image_runs_as_nobody_in_particular() -> None:
    final = TEXT.split("\nFROM ")[-1]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert "exec python" in final  # else SIGTERM ends at the shell


def test_the_models_are_fetched_as_make_models_does() -> None:
    (module,) = set(re.findall(r"-m (services\.runtime\.\w+)", TEXT))
    assert f"-m {module}\n" in (ROOT / "Makefile").read_text()


def test_the_version_of_pip_is_the_makefiles() -> None:
    pattern = r'"pip==([\d.]+)"'
    assert re.findall(pattern, TEXT) == re.findall(pattern, (ROOT / "Makefile").read_text())
