import subprocess
import sys
from types import ModuleType

import syncline


def test_public_names() -> None:
    assert syncline.__all__ == sorted(["AsyncClient", "Client", "errors", "types"])
    others = {name for name in vars(syncline) if name[0] != "_"} - set(syncline.__all__)
    assert {name for name in others if not isinstance(getattr(syncline, name), ModuleType)} == set()


def test_import_is_light() -> None:
    script = "import syncline, syncline.cli, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "syncline" in imported
    assert imported.isdisjoint({"numpy", "services", "torch", "cv2", "av"})
