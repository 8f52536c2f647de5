"""The command that measures GPUs, on a CPU and a tiny network: each step is run or told to be left out."""

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the neural group is not installed")

from benchmarks import gpu  # noqa: E402
from tests.neural import GFPGAN  # noqa: E402


def test_every_step_is_measured_or_told_to_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(gpu.NETWORKS, "tiny", ("gfpgan", GFPGAN))
    left_out = ("onnxruntime trt", "tensorrt fp32", "tensorrt fp16")
    floors = dict.fromkeys((torch.float32, torch.float16), 1e9)
    gpu.compare("tiny", "cpu", (2,), ("onnxruntime fp16", *left_out), floors, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    for step in (gpu.EAGER, "onnxruntime fp16"):
        (line,) = (line for line in lines if f"  {step} " in line)
        assert re.search(r"batch  2 .* ms/face +[\d.]+ faces/s +[\d.]+x floor +PSNR", line)
        assert float(re.search(r"PSNR +([\d.]+) dB", line)[1]) > 40  # type: ignore[index]
    for step in left_out:
        assert f"tiny                   {step}: left out: " in "\n".join(lines)
