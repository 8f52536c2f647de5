"""Which phone is heard, by the English acoustic model that the pocketsphinx wheel carries: its Gaussians as ONNX.

The model (CMU Sphinx en-us, phonetically tied mixtures, BSD licence) scores three states of 42 phones, each a mixture
of 128 Gaussians of the phone in three streams: cepstra, slope, bend (`voice.make_features`). States that depend on the
phone's neighbours are left aside. Phones of any language fall somewhere between these 42.
"""

import struct
from dataclasses import dataclass
from importlib import resources

import numpy as np
import onnxruntime

from services.lipsync.engines.rewrite import voice
from tools.voice_graph import Graph

STREAMS, STATES = 3, 3
SHARPNESS = 0.25  # exponent of likelihoods: what frames say is far from independent
_LOG_BASE = 1.0001  # of stored mixture weights,
_LOG_SHIFT = 10  # and the bits they were shifted by
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True, slots=True)
class AcousticModel:
    """`means`, `variances`: (phones, streams, Gaussians, CEPSTRA); `weights`: (streams, phones, Gaussians, states)."""

    means: np.ndarray
    variances: np.ndarray
    weights: np.ndarray

    @property
    def phones(self) -> int:
        return len(self.means)


def read_acoustic_model() -> AcousticModel:
    """Raises ModuleNotFoundError without pocketsphinx, of the `train` dependency group."""
    folder = resources.files("pocketsphinx") / "model/en-us/en-us"
    means, variances = (_read_gaussians((folder / name).read_bytes()) for name in ("means", "variances"))
    phones, streams, gaussians, _ = means.shape
    weights = _read_weights((folder / "sendump").read_bytes(), streams)[:, :, : phones * STATES]
    weights = weights.reshape(streams, gaussians, phones, STATES).transpose(0, 2, 1, 3)
    return AcousticModel(means, np.maximum(variances, _LEAST_VARIANCE), weights)


def _read_gaussians(data: bytes) -> np.ndarray:
    """Sphinx-3 parameter file: a text header, a mark of the byte order, the counts, the lengths, the values."""
    place = data.index(b"endhdr\n") + len(b"endhdr\n") + 4
    phones, streams, gaussians = struct.unpack_from("<3i", data, place)
    lengths = struct.unpack_from(f"<{streams}i", data, place + 12)
    size = phones * streams * gaussians * lengths[0]
    values = np.frombuffer(data, "<f4", size, place + 16 + 4 * streams)
    return values.reshape(phones, streams, gaussians, lengths[0])


def _read_weights(data: bytes, streams: int) -> np.ndarray:
    """(streams, Gaussians, states) logarithms: strings with their lengths, a zero, the counts, a byte for each."""
    place = 0
    while length := struct.unpack_from("<i", data, place)[0]:
        place += 4 + length
    gaussians, states = struct.unpack_from("<2i", data, place + 4)
    stored = np.frombuffer(data, np.uint8, streams * gaussians * states, place + 12)
    logarithms = -np.log(_LOG_BASE) * (stored.astype(np.float64) * (1 << _LOG_SHIFT))
    return logarithms.reshape(streams, gaussians, states)


def add_phones(graph: Graph, features: str, model: AcousticModel) -> str:
    """(1, steps, phones): square roots of how likely each phone is, given features (1, steps, FEATURES)."""
    rows = graph.add("Squeeze", features, graph.store(np.array([0])))
    scores = [_add_stream(graph, rows, model, stream) for stream in range(STREAMS)]
    states = graph.add("Mul", graph.add("Sum", *scores), graph.store(np.float32(SHARPNESS)))
    phones = graph.add("ReduceLogSumExp", states, graph.store(np.array([2])), keepdims=0)  # (phones, steps)
    likely = graph.add("Softmax", graph.add("Transpose", phones, perm=[1, 0]), axis=1)
    return graph.add("Unsqueeze", graph.add("Sqrt", likely), graph.store(np.array([0])))


def _add_stream(graph: Graph, rows: str, model: AcousticModel, stream: int) -> str:
    """Log-likelihoods (phones, steps, states) of one stream."""
    ends = [graph.store(np.array([value])) for value in (stream * voice.CEPSTRA, (stream + 1) * voice.CEPSTRA)]
    part = graph.add("Slice", rows, *ends, graph.store(np.array([1])))
    means = model.means[:, stream].reshape(-1, voice.CEPSTRA).astype(np.float64)
    precisions = 1 / model.variances[:, stream].reshape(-1, voice.CEPSTRA).astype(np.float64)
    axes = np.concatenate([-precisions / 2, means * precisions], axis=1).T
    bias = (0.5 * np.log(precisions / (2 * np.pi)) - means**2 * precisions / 2).sum(axis=1)
    inputs = graph.add("Concat", graph.add("Mul", part, part), part, axis=1)
    scores = graph.add("Gemm", inputs, graph.store(axes), graph.store(bias))
    scores = graph.add("Reshape", scores, graph.store(np.array([0, model.phones, -1])))
    scores = graph.add("Transpose", scores, perm=[1, 0, 2])  # (phones, steps, Gaussians)
    best = graph.add("ReduceMax", scores, graph.store(np.array([2])), keepdims=1)
    likely = graph.add("Exp", graph.add("Sub", scores, best))
    mixed = graph.add("MatMul", likely, graph.store(np.exp(model.weights[stream])))
    return graph.add("Add", best, graph.add("Log", graph.add("Add", mixed, graph.store(np.float32(1e-30)))))


class PhoneListener:
    """The graph on its own, for training: features (steps, FEATURES) -> what the nets see (steps, phones + 1)."""

    def __init__(self) -> None:
        graph, model = Graph(), read_acoustic_model()
        phones = add_phones(graph, "features", model)
        data = graph.build(
            {"features": [1, "steps", voice.FEATURES]}, {"phones": (phones, [1, "steps", model.phones])}, {}
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def hear(self, features: np.ndarray) -> np.ndarray:
        pieces = [features[first : first + 1000] for first in range(0, len(features), 1000)]
        phones = [self._session.run(None, {"features": piece[None]})[0][0] for piece in pieces]
        return np.concatenate([np.concatenate(phones), features[:, -1:]], axis=1)
