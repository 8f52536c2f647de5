"""The floor: decoding a file and encoding it again with a job's default settings, and nothing else.

    python -m benchmarks.floor VIDEO OUT

A process of its own, so that its memory can be measured; prints what it took as JSON.
"""

import json
import sys
import time
from fractions import Fraction
from pathlib import Path

import av

CRF, PRESET, THREADS = "18", "veryfast", 4  # as a job's defaults


def transcode(video: Path, out: Path) -> int:
    """Frames done."""
    count = 0
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        pictures = source.streams.video[0]
        pictures.thread_type = "AUTO"
        rate = pictures.average_rate or Fraction(25)
        stream = target.add_stream("libx264", rate=rate, options={"crf": CRF, "preset": PRESET})
        stream.width, stream.height, stream.pix_fmt = pictures.width, pictures.height, "yuv420p"
        stream.codec_context.thread_count = THREADS
        stream.codec_context.thread_type = "FRAME"
        stream.codec_context.time_base = 1 / rate
        for frame in source.decode(pictures):
            frame.pts, frame.time_base = count, 1 / rate
            frame.pict_type = 0  # the coder chooses, as in any transcoding, not as the source was coded
            target.mux(stream.encode(frame))
            count += 1
        target.mux(stream.encode(None))
    return count


if __name__ == "__main__":
    begun, burnt = time.monotonic(), time.process_time()
    frames = transcode(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"frames": frames, "seconds": time.monotonic() - begun, "cpu": time.process_time() - burnt}))
