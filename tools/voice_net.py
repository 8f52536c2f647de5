"""The voice-to-mouth net in PyTorch: how it is built, trained and written as ONNX."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from services.lipsync.engines.rewrite import shape, voice

CHANNELS = 80
# Dilations in steps of 40 ms, three taps each: 280 ms either side, then 640 ms more of the past.
AROUND, BEFORE = (1, 2, 4), (8,)
DROPOUT = 0.3
BATCH, STEPS = 16, 900
CROP = 200  # features: 4 s
UNSEEN = 8  # features at a crop's start, of whose past the net sees too little to be judged
RATE, DECAY = 2e-3, 0.02
AVERAGING = 0.01  # of the weights over the steps
JITTER = 0.2  # noise added to the features
CORRELATION_WEIGHT = 2.5  # against the distance
WEIGHTS = torch.tensor([2.0, 1.0, 0.7, 1.5, 0.7, 0.7])  # of the measures


@dataclass(frozen=True)
class Sample:
    """A recording heard one way. `features`: (n, BANDS + 1); `truth`: (n, measures); `seen`: (n,), 1 where it holds."""

    features: np.ndarray
    truth: np.ndarray
    seen: np.ndarray


class Block(nn.Module):
    def __init__(self, dilation: int, ahead: bool) -> None:
        super().__init__()
        self.dilation = dilation
        self.pads = (dilation, dilation) if ahead else (2 * dilation, 0)
        self.taps = nn.Linear(3 * CHANNELS, CHANNELS)
        self.norm = nn.BatchNorm1d(CHANNELS)
        self.mix = nn.Linear(CHANNELS, CHANNELS)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, rows: Tensor) -> Tensor:  # (batch, time, channels)
        padded, reach = functional.pad(rows, (0, 0, *self.pads)), self.dilation
        near = torch.cat([padded[:, : -2 * reach], padded[:, reach:-reach], padded[:, 2 * reach :]], 2)
        return rows + self.drop(self.mix(_norm_relu(self.norm, self.taps(near))))


class VoiceNet(nn.Module):
    """(batch, time, BANDS + 1) features, 50 a second -> (batch, time, measures); works on pairs, 25 a second."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * (voice.BANDS + 1), CHANNELS)
        self.blocks = nn.ModuleList([Block(d, True) for d in AROUND] + [Block(d, False) for d in BEFORE])
        self.norm = nn.BatchNorm1d(CHANNELS)
        self.leave = nn.Linear(CHANNELS, 2 * shape.MEASURES)

    def forward(self, features: Tensor) -> Tensor:
        batch, time, columns = features.shape
        rows = self.enter(features.reshape(batch, time // 2, 2 * columns))
        for block in self.blocks:
            rows = block(rows)
        return self.leave(_norm_relu(self.norm, rows)).reshape(batch, time, shape.MEASURES)


def _norm_relu(norm: nn.BatchNorm1d, rows: Tensor) -> Tensor:
    return functional.relu(norm(rows.flatten(0, 1)).view_as(rows))


def measure_loss(answer: Tensor, truth: Tensor, seen: Tensor) -> Tensor:
    """What is missing of Pearson's correlation over each crop, and smooth L1; weighted over the measures."""
    held = seen[..., None]
    count = held.sum(1).clamp(min=1)
    answer_off = (answer - (answer * held).sum(1, keepdim=True) / count[:, None]) * held
    truth_off = (truth - (truth * held).sum(1, keepdim=True) / count[:, None]) * held
    spreads = (answer_off**2).sum(1) / count * ((truth_off**2).sum(1) / count)
    correlation = (answer_off * truth_off).sum(1) / count / torch.sqrt(spreads + 1e-3)
    distance = (functional.smooth_l1_loss(answer, truth, reduction="none", beta=0.3) * held).sum(1) / count
    return ((CORRELATION_WEIGHT * (1 - correlation) + distance) * WEIGHTS).sum(1).mean() / WEIGHTS.sum()


def train_net(clips: Sequence[Sequence[Sample]], shares: np.ndarray, seed: int, steps: int = STEPS) -> VoiceNet:
    """`clips`: each heard in several ways; `shares`: how often each is drawn. One thread, the same every time."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    net, kept = VoiceNet(), VoiceNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.15)
    kept.load_state_dict(net.state_dict())
    for _ in range(steps):
        features, truth, seen = draw_batch(clips, shares, random)
        loss = measure_loss(net(features), truth, seen)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for average, value in zip(kept.state_dict().values(), net.state_dict().values(), strict=True):
                if value.dtype.is_floating_point:
                    average.lerp_(value, AVERAGING)
    return kept.eval()


def draw_batch(
    clips: Sequence[Sequence[Sample]], shares: np.ndarray, random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    features = np.zeros((BATCH, CROP, voice.BANDS + 1), np.float32)
    truth = np.zeros((BATCH, CROP, shape.MEASURES), np.float32)
    seen = np.zeros((BATCH, CROP), np.float32)
    for row, number in enumerate(random.choice(len(clips), BATCH, p=shares)):
        sample = clips[number][random.integers(len(clips[number]))]
        first = random.integers(max(len(sample.features) - CROP, 0) + 1)
        part = slice(first, first + CROP)
        length = len(sample.features[part])
        features[row] = np.pad(sample.features[part], ((0, CROP - length), (0, 0)), mode="edge")
        truth[row, :length], seen[row, :length] = sample.truth[part], sample.seen[part]
        features[row, :, : voice.BANDS] = shift_bands(features[row, :, : voice.BANDS], random)
        hide_parts(features[row], random)
    seen[:, :UNSEEN] = 0
    features += random.standard_normal(features.shape).astype(np.float32) * JITTER
    return torch.from_numpy(features), torch.from_numpy(truth), torch.from_numpy(seen)


def shift_bands(bands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Longer and shorter throats: the mel axis moved and stretched."""
    places = np.arange(voice.BANDS) * random.uniform(0.96, 1.04) + random.uniform(-1.8, 1.8)
    places = np.clip(places, 0, voice.BANDS - 1)
    lower = np.minimum(places.astype(int), voice.BANDS - 2)
    part = (places - lower).astype(np.float32)
    return bands[:, lower] * (1 - part) + bands[:, lower + 1] * part


def hide_parts(features: np.ndarray, random: np.random.Generator) -> None:
    """Up to five bands, and now and then up to seven steps, of one crop set to the mean."""
    bands = random.integers(6)
    first = random.integers(voice.BANDS - bands)
    features[:, first : first + bands] = 0
    if random.random() < 0.5:
        first = random.integers(len(features) - 8)
        features[first : first + random.integers(1, 8), : voice.BANDS] = 0


@torch.no_grad()
def predict(nets: Sequence[VoiceNet], features: np.ndarray) -> np.ndarray:
    even = torch.from_numpy(np.pad(features, ((0, len(features) % 2), (0, 0)), mode="edge"))
    return np.mean([net(even[None])[0].numpy() for net in nets], axis=0)[: len(features)]


def write_onnx(path: Path, nets: Sequence[VoiceNet], rest: np.ndarray, span: np.ndarray) -> None:
    """The nets' mean as one graph: features (1, BANDS + 1, steps), an even number, -> measures (1, steps, measures)."""
    nodes: list[onnx.NodeProto] = []
    stored: list[onnx.TensorProto] = []

    def store(values: np.ndarray) -> str:
        stored.append(numpy_helper.from_array(np.ascontiguousarray(values), f"w{len(stored)}"))
        return stored[-1].name

    def add(kind: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"x{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    def convolve(rows: str, weight: Tensor, bias: Tensor, taps: int, **attributes: object) -> str:
        """`weight`: (out, taps * in), taps first."""
        kernel = weight.reshape(len(weight), taps, -1).permute(0, 2, 1)
        return add("Conv", rows, store(kernel.numpy()), store(bias.numpy()), **attributes)

    answers = []
    with torch.no_grad():
        for net in nets:
            rows = convolve("features", net.enter.weight, net.enter.bias, 2, strides=[2])
            for block in net.blocks:
                gain, shift = _fold(block.norm)
                weight, bias = block.taps.weight * gain[:, None], block.taps.bias * gain + shift
                near = convolve(rows, weight, bias, 3, dilations=[block.dilation], pads=list(block.pads))
                mixed = convolve(add("Relu", near), block.mix.weight, block.mix.bias, 1)
                rows = add("Add", rows, mixed)
            gain, shift = _fold(net.norm)
            rows = add("Mul", rows, store(gain[:, None].numpy()))
            rows = add("Relu", add("Add", rows, store(shift[:, None].numpy())))
            answers.append(convolve(rows, net.leave.weight, net.leave.bias, 1))
    mean = add("Transpose", add("Mean", *answers), perm=[0, 2, 1])
    nodes.append(helper.make_node("Reshape", [mean, store(np.array([1, -1, shape.MEASURES]))], ["measures"]))
    graph = helper.make_graph(
        nodes,
        "voice_to_mouth",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, voice.BANDS + 1, "steps"])],
        [helper.make_tensor_value_info("measures", TensorProto.FLOAT, [1, "steps", shape.MEASURES])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"rest": json.dumps(rest.tolist()), "span": json.dumps(span.tolist())})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _fold(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Gain and shift that a trained batch norm comes to."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return gain, norm.bias - norm.running_mean * gain
