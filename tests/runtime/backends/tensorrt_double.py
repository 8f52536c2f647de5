"""A strict double of TensorRT's public Python API, as far as a build and a run need it, for 10.12+ and for 11.

Names and signatures are those of the vendor's documentation; whatever is not there raises AttributeError, as it would.
An "engine" holds the ONNX file it was built from; running one reads and writes the addresses it was given, by way of
ONNX Runtime.
"""

import ctypes
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime


class _Enum(int):
    pass


class _Strict:
    """Nothing may be set that was not declared."""

    __slots__ = ()


class Logger(_Strict):
    WARNING = _Enum(2)
    __slots__ = ("severity",)

    def __init__(self, min_severity: _Enum = WARNING) -> None:
        self.severity = min_severity


class _HostMemory(_Strict):
    """IHostMemory: the buffer protocol and nbytes."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def nbytes(self) -> int:
        return len(self._content)

    def __bytes__(self) -> bytes:
        return self._content


class _TimingCache(_Strict):
    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> _HostMemory:
        return _HostMemory(self.content)


class _Profile(_Strict):
    __slots__ = ("shapes",)

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:
        if any(not a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise ValueError(f"{input}: a profile needs min <= opt <= max")
        self.shapes[input] = (min, opt, max)


class _Network(_Strict):
    __slots__ = ("model",)

    def __init__(self) -> None:
        self.model = b""


class _BuilderConfig(_Strict):
    __slots__ = ("cache", "limits", "profiles")

    def __init__(self) -> None:
        self.profiles: list[_Profile] = []
        self.limits: dict[int, int] = {}
        self.cache: _TimingCache | None = None

    def set_memory_pool_limit(self, pool: _Enum, pool_size: int) -> None:
        self.limits[pool] = pool_size

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> _TimingCache:
        return _TimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self) -> _TimingCache | None:
        return self.cache


class _Context(_Strict):
    __slots__ = ("_addresses", "_engine", "_shapes")

    def __init__(self, engine: "_Engine") -> None:
        self._engine, self._shapes, self._addresses = engine, dict[str, tuple[int, ...]](), dict[str, int]()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine.profile[name]
        if any(not low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            return False
        self._shapes[name] = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._engine.output_shapes(self._shapes)[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        feeds = {name: _at(self._addresses[name], shape).copy() for name, shape in self._shapes.items()}
        for name, output in self._engine.run(feeds).items():
            _at(self._addresses[name], output.shape)[...] = output
        return True


def _at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_float * int(np.prod(shape))).from_address(address)).reshape(shape)


class _Engine(_Strict):
    __slots__ = ("_session", "profile")

    def __init__(self, model: bytes, profile: dict[str, Any]) -> None:
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.profile = profile

    def create_execution_context(self) -> _Context:
        return _Context(self)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, feeds), strict=True))

    def output_shapes(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        return {name: output.shape for name, output in self.run(zeros).items()}


def make_tensorrt(version: str) -> Any:
    """The module, of that version. `builds` counts what its builders built."""
    eleven = version.startswith("11.")

    class Builder(_Strict):
        __slots__ = ("_logger",)

        def __init__(self, logger: Logger) -> None:
            self._logger = logger

        def create_network(self, flags: int = 0) -> _Network:
            if not eleven and flags != 1 << 1:
                raise AssertionError("a weakly typed network: precision flags are gone from 11 on")
            return _Network()

        def create_builder_config(self) -> _BuilderConfig:
            return _BuilderConfig()

        def create_optimization_profile(self) -> _Profile:
            return _Profile()

        def build_serialized_network(self, network: _Network, config: _BuilderConfig) -> _HostMemory | None:
            module.builds += 1
            (profile,) = config.profiles
            graph = onnx.load_from_string(network.model).graph
            assert {port.name for port in graph.input} == set(profile.shapes), "every input needs its range"
            if config.cache is not None:
                config.cache.content = b"timings"
            head = json.dumps({"version": version, "profile": profile.shapes}).encode()
            return _HostMemory(head + b"\0" + network.model)

    class OnnxParser(_Strict):
        __slots__ = ("_errors", "_network")

        def __init__(self, network: _Network, logger: Logger) -> None:
            self._network, self._errors = network, list[str]()

        def parse(self, model: bytes) -> bool:
            try:
                onnx.checker.check_model(onnx.load_from_string(model))
            except Exception as error:
                self._errors.append(str(error))
                return False
            self._network.model = model
            return True

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> str:
            return self._errors[index]

    class Runtime(_Strict):
        __slots__ = ("_logger",)

        def __init__(self, logger: Logger) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> _Engine | None:
            head, _, model = serialized_engine.partition(b"\0")
            facts = json.loads(head)
            return _Engine(model, facts["profile"]) if facts["version"] == version else None

    module = SimpleNamespace(
        __version__=version,
        Logger=Logger,
        Builder=Builder,
        OnnxParser=OnnxParser,
        Runtime=Runtime,
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=_Enum(1)),
        MemoryPoolType=SimpleNamespace(WORKSPACE=_Enum(0)),
        builds=0,
    )
    return module
