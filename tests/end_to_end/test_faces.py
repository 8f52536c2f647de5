"""Several faces: which of them speaks, and each with a speech of its own."""

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import skimage.data

from examples.demo import speak
from syncline import Client, errors
from syncline.types import Asset, FaceBox, Person, Speaker
from tests.end_to_end.conftest import RATE, read_video, write_video
from tests.end_to_end.test_job import speech_seconds

LEFT, RIGHT = np.s_[:, :272], np.s_[:, 272:]


def look_other(photo: np.ndarray) -> np.ndarray:
    """The portrait made into somebody else: mirrored, dark, green, with a broad nose."""
    height, width = photo.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    near = np.exp(-(((x - 132) / 30) ** 2 + ((y - 100) / 40) ** 2))
    wider = cv2.remap(photo, x - 0.4 * near * (x - 132), y, cv2.INTER_LINEAR)
    return np.ascontiguousarray(wider[:, ::-1] // 2 + np.array([10, 30, 0], np.uint8))


def stand_side_by_side(frame: int, right: bool = True) -> np.ndarray:
    """The portrait on the left and somebody else on the right, (272, 544, 3)."""
    photo = np.ascontiguousarray(skimage.data.astronaut()[20:292, 90:362])
    x, y = 4 * np.sin(frame / 10), 3 * np.sin(frame / 7)
    shifted = [
        cv2.warpAffine(face, np.float32([[1, 0, x], [0, 1, y]]), (272, 272), borderMode=cv2.BORDER_REPLICATE)
        for face in (photo, look_other(photo))
    ]
    return np.hstack(shifted if right else [shifted[0], np.full_like(shifted[0], 80)])


@pytest.fixture(scope="module")
def pair(media: Path) -> Path:
    """A folder beside the media: pair.mp4, two faces side by side, and what to name them by."""
    folder = media / "pair"
    folder.mkdir(exist_ok=True)
    pictures = [stand_side_by_side(frame) for frame in range(50)]
    write_video(folder / "pair.mp4", pictures)
    cv2.imwrite(str(folder / "right.png"), pictures[20][RIGHT][..., ::-1])
    cv2.imwrite(str(folder / "both.png"), pictures[20][..., ::-1])
    cv2.imwrite(str(folder / "blank.png"), np.full((200, 200, 3), 90, np.uint8))
    cv2.imwrite(str(folder / "stranger.png"), np.rot90(cv2.applyColorMap(pictures[0][LEFT], cv2.COLORMAP_JET), 0))
    speak("Now I speak as well.", folder / "other.wav")
    return folder


@pytest.fixture(scope="module")
def video(client: Client, pair: Path) -> Asset:
    return client.upload(pair / "pair.mp4")


@pytest.fixture(scope="module")
def speech(client: Client, media: Path) -> Asset:
    return client.upload(media / "speech.wav")


def make(client: Client, out: Path, *arguments: Any, **options: Any) -> dict[str, Any]:
    """The report of the job whose result is at `out`."""
    job = client.result(client.create_job(*arguments, preset="ultrafast", crf=8, **options))
    client.download(job, out)
    return client.report(job)


def changes(out: Path, pair: Path) -> tuple[np.ndarray, np.ndarray]:
    """How far the left and the right half of each frame are from the source's."""
    source, _ = read_video(pair / "pair.mp4")
    result, _ = read_video(out)
    halves = [
        [np.abs(frame[half].astype(int) - source[number % len(source)][half]).max() for half in (LEFT, RIGHT)]
        for number, frame in enumerate(result)
    ]
    left, right = np.array(halves).T
    return left, right


def test_persons_are_listed_from_left_to_right(client: Client, video: Asset) -> None:
    persons = client.persons(video)
    assert [(person.index, person.frames) for person in persons] == [(1, 50), (2, 50)]
    assert persons[0].first.x < 272 < persons[1].first.x
    assert all(isinstance(person, Person) and person.first.time == 0 for person in persons)
    assert persons[0].shown[0] == pytest.approx((0.0, float(49 / RATE)), abs=1e-6)


@pytest.mark.parametrize("by", ["index", "box", "box in fractions", "reference"])
def test_the_face_named_speaks_and_nobody_else(
    client: Client, video: Asset, speech: Asset, pair: Path, tmp_path: Path, by: str
) -> None:
    face = {
        "index": 2,
        "box": FaceBox(380, 80, 60, 60, time=0.5),
        "box in fractions": FaceBox(0.7, 0.3, 0.1, 0.2, unit="fractions"),
        "reference": client.upload(pair / "right.png"),
    }[by]
    report = make(client, tmp_path / "out.mp4", video, speech, face=face)
    left, right = changes(tmp_path / "out.mp4", pair)
    assert left.max() < 25  # the encoder's loss
    assert right.max() > 50
    assert report["persons_told_by"] == "landmarks"
    (speaker,) = report["speakers"]
    assert (speaker["person"], speaker["chosen_by"]) == (2, by.split()[0])
    assert [person["index"] for person in report["persons"]] == [1, 2]


def test_without_sound_or_choice_the_largest_speaks(
    client: Client, video: Asset, speech: Asset, tmp_path: Path
) -> None:
    report = make(client, tmp_path / "out.mp4", video, speech, face="auto")
    assert report["persons_told_by"] == "landmarks"
    (speaker,) = report["speakers"]
    assert (speaker["chosen_by"], speaker["confidence"]) == ("largest", 0)
    assert all(person["voice"] is None for person in report["persons"])
    largest = max(report["persons"], key=lambda person: person["box"]["width"] * person["box"]["height"])
    assert speaker["person"] == largest["index"]


def test_each_face_has_its_own_speech(
    client: Client, video: Asset, speech: Asset, pair: Path, media: Path, tmp_path: Path
) -> None:
    other = client.upload(pair / "other.wav")
    speakers = [Speaker(1, speech), Speaker(FaceBox(380, 80, 60, 60), other, start=1.2)]
    job = client.create_job(video, speakers=speakers, sync_mode="loop", preset="ultrafast", crf=8)
    assert (job.audio, job.speakers[1].start, job.speakers[0].face) == ("", 1.2, 1)
    report = client.report(client.result(job))
    client.download(job.name, tmp_path / "out.mp4")
    seconds = max(speech_seconds(media / "speech.wav"), 1.2 + speech_seconds(pair / "other.wav"))
    frames = report["result"]["frames"]
    assert 0 <= frames / RATE - seconds < 1 / RATE
    left, right = changes(tmp_path / "out.mp4", pair)
    assert left.max() > 50
    assert right[45:].max() > 50
    assert [speaker["person"] for speaker in report["speakers"]] == [1, 2]
    for speaker in report["speakers"]:
        assert sum(speaker["frames"]["by_outcome"].values()) == frames
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = np.concatenate([block.to_ndarray()[0] for block in container.decode(audio=0)])
        assert len(sound) / container.streams.audio[0].rate == pytest.approx(seconds, abs=0.05)
    assert np.abs(sound).max() <= 1
    # The same alone: the first mouth does not depend on the second.
    make(client, tmp_path / "alone.mp4", video, speech, face=1, sync_mode="loop")
    together, _ = read_video(tmp_path / "out.mp4")
    alone, _ = read_video(tmp_path / "alone.mp4")
    assert max(np.abs(a[LEFT].astype(int) - b[LEFT]).mean() for a, b in zip(together, alone, strict=False)) < 1.5


def fails(client: Client, error: type[errors.SynclineError], told: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(errors.SynclineError, match=told) as raised:
        client.result(client.create_job(*arguments, **options))
    assert type(raised.value) is error


def test_faces_that_are_not_there(client: Client, video: Asset, speech: Asset, pair: Path) -> None:
    fails(client, errors.FaceNotFound, r"face 3 .* 2 faces: face 1 from 0.00 s at x", video, speech, face=3)
    fails(client, errors.FaceNotFound, "no face meets the box", video, speech, face=FaceBox(0, 0, 5, 5))
    fails(client, errors.InvalidOption, "last frame", video, speech, face=FaceBox(0, 0, 500, 200, time=60))


def test_photos_that_do_not_help(client: Client, video: Asset, speech: Asset, pair: Path) -> None:
    blank, both = client.upload(pair / "blank.png"), client.upload(pair / "both.png")
    fails(client, errors.NoFace, "shows no face", video, speech, face=blank)
    fails(client, errors.InvalidOption, "shows 2 faces", video, speech, face=both)
    fails(client, errors.InvalidOption, "is a video", video, speech, face=video)
    fails(client, errors.InvalidOption, "no picture", video, speech, face=speech)
    fails(client, errors.FaceNotFound, "looks clearly", video, speech, face=client.upload(pair / "stranger.png"))


def test_speakers_that_cannot_go_together(client: Client, video: Asset, speech: Asset) -> None:
    twins = [Speaker(2, speech), Speaker(FaceBox(380, 80, 60, 60), speech)]
    fails(client, errors.InvalidOption, "speakers 1 and 2 are the same person, face 2", video, speakers=twins)
    fails(client, errors.InvalidOption, "both", video, speech, speakers=[Speaker(1, speech)])
    fails(client, errors.InvalidOption, "neither", video)
    fails(client, errors.InvalidOption, "must name a face", video, speakers=[Speaker("auto", speech)])
    fails(client, errors.InvalidOption, "leave the option face", video, speakers=[Speaker(1, speech)], face=2)
    fails(client, errors.AssetNotFound, "upload", video, speakers=[Speaker(1, "0" * 64)])
    fails(client, errors.AssetNotFound, "upload", video, speech, face="0" * 64)
    fails(client, errors.NoAudio, "no sound", video, speakers=[Speaker(1, speech), Speaker(2, video)])


def cut_video(path: Path, out: Path, seconds: float) -> None:
    """The beginning of a file, its pictures and sound as they are."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        streams = [source.streams.video[0], source.streams.audio[0]]
        copies = {stream.index: target.add_stream_from_template(stream) for stream in streams}
        for packet in source.demux(streams):
            if packet.dts is not None and packet.dts * packet.time_base < seconds:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)


def test_the_one_whose_voice_it_is_speaks(client: Client, clips: Path, media: Path, tmp_path: Path) -> None:
    cut_video(clips / "several/two_shot_2.avi", tmp_path / "talk.mkv", seconds=3)
    job = client.run(tmp_path / "talk.mkv", media / "speech.wav", tmp_path / "out.mp4", preset="ultrafast")
    report = client.report(job)
    assert report["persons_told_by"] == "landmarks"
    (speaker,) = report["speakers"]
    assert (speaker["person"], speaker["chosen_by"]) == (1, "speaker")
    assert speaker["confidence"] > 0.9
    assert report["persons"][0]["voice"] > report["persons"][1]["voice"] + 0.1
