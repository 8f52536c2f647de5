"""The whole of Syncline on material that is free to use: a NASA portrait and a synthetic voice.

Starts the five services, runs one job through the client SDK, and writes out/demo.mp4, out/demo.report.json and
out/demo.png (the source above the result, eight moments).
"""

import ctypes
import json
import tempfile
import wave
from pathlib import Path

import av
import cv2
import espeakng_loader
import numpy as np
import skimage.data

from syncline import Client
from syncline.local import LocalStack
from syncline.types import JobEvent

OUT = Path(__file__).resolve().parents[1] / "out"
TEXT = (
    "Hello! This is Syncline. Give me one portrait and one recording, and my lips will say the words. "
    "Maybe you mean to make a film: from a photo, my mouth opens, closes, and rests."
)
MOMENTS = 8


def speak(text: str, path: Path) -> None:
    """Writes the text, spoken by eSpeak NG, as a WAV file."""
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    retrieval, utf8, by_character = 1, 1, 1  # AUDIO_OUTPUT_RETRIEVAL, espeakCHARS_UTF8, POS_CHARACTER
    data = str(Path(espeakng_loader.get_data_path()).parent).encode()
    rate = library.espeak_Initialize(retrieval, 0, data, 0)
    if rate <= 0:
        raise RuntimeError("eSpeak NG cannot be initialised")
    pieces: list[bytes] = []
    callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

    @callback_type
    def take(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, count * 2))
        return 0

    library.espeak_SetSynthCallback(take)
    library.espeak_SetVoiceByName(b"en-us+f3")
    spoken = text.encode()
    library.espeak_Synth(spoken, len(spoken) + 1, 0, by_character, 0, utf8, None, None)
    library.espeak_Synchronize()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(pieces))


def draw_moments(photo: np.ndarray, video: Path, path: Path) -> None:
    """The source above the result, at moments spread over the video, cut to the face."""
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    picks = np.linspace(0, len(frames) - 1, MOMENTS + 2).astype(int)[1:-1]
    face = np.s_[50:215, 155:295]
    columns = [np.vstack([photo[face], frames[pick][face]]) for pick in picks]
    sheet = cv2.resize(np.hstack(columns), None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), sheet[:, :, ::-1])


def say_ready(service: str, address: str, seconds: float) -> None:
    print(f"{service} is ready at {address} after {seconds:.1f} s")


def say_event(event: JobEvent) -> None:
    progress = event.job.progress
    if event.message or progress is None:
        print(event.message)
    else:
        print(f"{progress.phase.name.lower()}: {progress.done_frames} of {progress.total_frames} frames")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    photo = skimage.data.astronaut()
    with tempfile.TemporaryDirectory() as folder:
        photo_path, speech_path = Path(folder) / "portrait.png", Path(folder) / "speech.wav"
        cv2.imwrite(str(photo_path), photo[:, :, ::-1])
        speak(TEXT, speech_path)
        with LocalStack(Path(folder) / "data", on_ready=say_ready) as stack, Client(stack.server) as client:
            job = client.run(photo_path, speech_path, OUT / "demo.mp4", on_event=say_event)
            report = client.report(job)
    (OUT / "demo.report.json").write_text(json.dumps(report, indent=2) + "\n")
    draw_moments(photo, OUT / "demo.mp4", OUT / "demo.png")
    print(f"wrote {OUT / 'demo.mp4'}, demo.report.json and demo.png")


if __name__ == "__main__":
    main()
