"""The voice-to-mouth net in PyTorch: how it is built, trained and written as ONNX."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from services.lipsync.engines.rewrite import shape, voice
from tools.voice_graph import Graph
from tools.voice_phones import AcousticModel, add_phones

CHANNELS = 96
# Dilations in steps of 40 ms, three taps each: 280 ms either side, then 640 ms more of the past.
AROUND, BEFORE = (1, 2, 4), (8,)
DROPOUT = 0.35
BATCH, STEPS = 16, 1200
CROP = 200  # features: 4 s
UNSEEN = 8  # features at a crop's start, of whose past the net sees too little to be judged
RATE, DECAY = 2e-3, 0.02
AVERAGING = 0.01  # of the weights over the steps
PHONE_JITTER, ACTIVITY_JITTER = 0.05, 0.2  # noise added to the features
CORRELATION_WEIGHT = 2.5  # against the distance
CLOSED, CLOSING_WEIGHT = 0.15, 0.5  # relative opening of closed lips; weight of telling them
WEIGHTS = torch.tensor([2.0, 1.0, 0.7, 1.5, 0.7, 0.7])  # of the measures


@dataclass(frozen=True)
class Sample:
    """A recording heard one way. `features`: (n, inputs); `truth`: (n, measures); `seen`: (n,), 1 where it holds."""

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
    """(batch, time, inputs), phones and activity, 50 a second -> (batch, time, measures + 1); works on pairs.

    The last of what comes out is the logit of closed lips.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * inputs, CHANNELS)
        self.blocks = nn.ModuleList([Block(d, True) for d in AROUND] + [Block(d, False) for d in BEFORE])
        self.norm = nn.BatchNorm1d(CHANNELS)
        self.leave = nn.Linear(CHANNELS, 2 * (shape.MEASURES + 1))

    def forward(self, features: Tensor) -> Tensor:
        batch, time, columns = features.shape
        rows = self.enter(features.reshape(batch, time // 2, 2 * columns))
        for block in self.blocks:
            rows = block(rows)
        return self.leave(_norm_relu(self.norm, rows)).reshape(batch, time, shape.MEASURES + 1)


def _norm_relu(norm: nn.BatchNorm1d, rows: Tensor) -> Tensor:
    return functional.relu(norm(rows.flatten(0, 1)).view_as(rows))


def measure_loss(answer: Tensor, truth: Tensor, seen: Tensor) -> Tensor:
    """What is missing of Pearson's correlation over each crop, and smooth L1, weighted over the measures; and the
    cross entropy of closed lips.
    """
    answer, closing = answer[..., :-1], answer[..., -1]
    closed = (truth[..., shape.Measure.OPENING] < CLOSED).float()
    missed = functional.binary_cross_entropy_with_logits(closing, closed, weight=seen, reduction="sum") / seen.sum()
    held = seen[..., None]
    count = held.sum(1).clamp(min=1)
    answer_off = (answer - (answer * held).sum(1, keepdim=True) / count[:, None]) * held
    truth_off = (truth - (truth * held).sum(1, keepdim=True) / count[:, None]) * held
    spreads = (answer_off**2).sum(1) / count * ((truth_off**2).sum(1) / count)
    correlation = (answer_off * truth_off).sum(1) / count / torch.sqrt(spreads + 1e-3)
    distance = (functional.smooth_l1_loss(answer, truth, reduction="none", beta=0.3) * held).sum(1) / count
    missing = ((CORRELATION_WEIGHT * (1 - correlation) + distance) * WEIGHTS).sum(1).mean() / WEIGHTS.sum()
    return missing + CLOSING_WEIGHT * missed


def train_net(clips: Sequence[Sequence[Sample]], shares: np.ndarray, seed: int, steps: int = STEPS) -> VoiceNet:
    """`clips`: each heard in several ways; `shares`: how often each is drawn. One thread, the same every time."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    inputs = clips[0][0].features.shape[1]
    net, kept = VoiceNet(inputs), VoiceNet(inputs)
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
    features = np.zeros((BATCH, CROP, clips[0][0].features.shape[1]), np.float32)
    truth = np.zeros((BATCH, CROP, shape.MEASURES), np.float32)
    seen = np.zeros((BATCH, CROP), np.float32)
    for row, number in enumerate(random.choice(len(clips), BATCH, p=shares).tolist()):
        sample = clips[number][int(random.integers(len(clips[number])))]
        first = random.integers(max(len(sample.features) - CROP, 0) + 1)
        part = slice(first, first + CROP)
        length = len(sample.features[part])
        features[row] = np.pad(sample.features[part], ((0, CROP - length), (0, 0)), mode="edge")
        truth[row, :length], seen[row, :length] = sample.truth[part], sample.seen[part]
    seen[:, :UNSEEN] = 0
    noise = random.standard_normal(features.shape).astype(np.float32)
    features[..., :-1] += PHONE_JITTER * noise[..., :-1]
    features[..., -1] += ACTIVITY_JITTER * noise[..., -1]
    return torch.from_numpy(features), torch.from_numpy(truth), torch.from_numpy(seen)


@torch.no_grad()
def predict(nets: Sequence[VoiceNet], features: np.ndarray) -> np.ndarray:
    """(n, measures): the nets' mean."""
    even = torch.from_numpy(np.pad(features, ((0, len(features) % 2), (0, 0)), mode="edge"))
    return np.mean([net(even[None])[0].numpy() for net in nets], axis=0)[: len(features), :-1]


def write_onnx(
    path: Path, acoustic: AcousticModel, nets: Sequence[VoiceNet], facts: Mapping[str, Sequence[float | str]]
) -> None:
    """Features (1, steps, FEATURES), an even number of steps -> the nets' mean answer and all they had in mind.

    Out: `measures` (1, steps, measures), `closing` (1, steps), `hidden` (1, steps, nets x CHANNELS). `facts` become the
    file's metadata, in JSON.
    """
    graph = Graph()
    place = [graph.store(np.array([value])) for value in (voice.FEATURES - 1, voice.FEATURES, 2)]
    heard = graph.add("Concat", add_phones(graph, "features", acoustic), graph.add("Slice", "features", *place), axis=2)
    heard = graph.add("Transpose", heard, perm=[0, 2, 1])
    with torch.no_grad():
        hidden, answers = zip(*(_add_net(graph, heard, net) for net in nets), strict=True)
    mean = graph.add("Transpose", graph.add("Mean", *answers), perm=[0, 2, 1])
    mean = graph.add("Reshape", mean, graph.store(np.array([0, -1, shape.MEASURES + 1])))
    measures, closing = (
        graph.add("Slice", mean, *(graph.store(np.array([value])) for value in (first, first + count, 2)))
        for first, count in ((0, shape.MEASURES), (shape.MEASURES, 1))
    )
    closing = graph.add("Sigmoid", graph.add("Squeeze", closing, graph.store(np.array([2]))))
    rows = graph.add("Transpose", graph.add("Concat", *hidden, axis=1), perm=[0, 2, 1])
    pairs = graph.add("Concat", rows, rows, axis=2)
    inside = len(nets) * CHANNELS
    every = graph.add("Reshape", pairs, graph.store(np.array([0, -1, inside])))
    data = graph.build(
        {"features": [1, "steps", voice.FEATURES]},
        {
            "measures": (measures, [1, "steps", shape.MEASURES]),
            "closing": (closing, [1, "steps"]),
            "hidden": (every, [1, "steps", inside]),
        },
        {name: json.dumps(fact) for name, fact in facts.items()},
    )
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def _add_net(graph: Graph, heard: str, net: VoiceNet) -> tuple[str, str]:
    """What the net has in mind (1, CHANNELS, steps / 2), and its answers (1, 2 x (measures + 1), steps / 2)."""

    def convolve(rows: str, weight: Tensor, bias: Tensor, taps: int, **attributes: object) -> str:
        """`weight`: (out, taps * in), taps first."""
        kernel = weight.reshape(len(weight), taps, -1).permute(0, 2, 1)
        return graph.add("Conv", rows, graph.store(kernel.numpy()), graph.store(bias.numpy()), **attributes)

    rows = convolve(heard, net.enter.weight, net.enter.bias, 2, strides=[2])
    for block in net.blocks:
        gain, shift = _fold(block.norm)
        weight, bias = block.taps.weight * gain[:, None], block.taps.bias * gain + shift
        near = convolve(rows, weight, bias, 3, dilations=[block.dilation], pads=list(block.pads))
        rows = graph.add("Add", rows, convolve(graph.add("Relu", near), block.mix.weight, block.mix.bias, 1))
    gain, shift = _fold(net.norm)
    rows = graph.add("Mul", rows, graph.store(gain[:, None].numpy()))
    rows = graph.add("Relu", graph.add("Add", rows, graph.store(shift[:, None].numpy())))
    return rows, convolve(rows, net.leave.weight, net.leave.bias, 1)


def _fold(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Gain and shift that a trained batch norm comes to."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return gain, norm.bias - norm.running_mean * gain
