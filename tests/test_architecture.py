"""The import rules, read from the imports themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("decoder", "detector", "lipsync", "restorer", "orchestrator")


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where things come from"
            yield node.module or ""


def offenders(folder: str, *forbidden: str) -> list[str]:
    """file: module, for each import of a forbidden package."""
    return [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for module in imports(path)
        if any(module == name or module.startswith(name + ".") for name in forbidden)
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_imports_another(stage: str) -> None:
    others = [f"services.{other}" for other in STAGES if other != stage]
    assert not offenders(f"services/{stage}", *others)


def test_the_runtime_knows_no_stage() -> None:
    assert not offenders("services/runtime", *(f"services.{stage}" for stage in STAGES))


def test_the_sdk_imports_no_service_and_nothing_heavy() -> None:
    # The local stack starts services as processes; it too must not import them.
    assert not offenders("syncline", "services", "numpy", "cv2", "av", "torch")


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "orchestrator"])
def test_engines_know_no_wire(stage: str) -> None:
    assert not offenders(f"services/{stage}/engines", "grpc", "syncline", "google.protobuf")


def test_every_stage_has_the_same_rooms() -> None:
    for stage in STAGES:
        files = {path.name for path in (ROOT / "services" / stage).iterdir()}
        assert {"__init__.py", "__main__.py", "config.py", "servicer.py"} <= files, stage
        assert stage == "orchestrator" or "engines" in files


@pytest.mark.parametrize("stage", STAGES)
def test_servicers_stay_plumbing(stage: str) -> None:
    assert len((ROOT / "services" / stage / "servicer.py").read_text().splitlines()) < 150


def test_the_stages_are_the_protos() -> None:
    protos = {path.stem for path in (ROOT / "protos" / "syncline" / "v1").glob("*.proto")}
    assert protos == {"media", *STAGES}


def test_every_reason_that_is_raised_is_in_the_catalogue() -> None:
    from syncline.errors import CATALOGUE

    for path in sorted((ROOT / "services").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal" and node.args:
                reason = node.args[0]
                if isinstance(reason, ast.Constant):
                    assert reason.value in CATALOGUE, f"{path.relative_to(ROOT)}: {reason.value}"
