"""What is written: clips that play, sidecars that say everything, and nothing half-done."""

import hashlib
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageColor
from tiny_models import tiny_pipeline, tiny_scene, write_scene

from lumosx import LumosXPipeline, Scene
from lumosx.errors import InputError
from lumosx.pipelines import Result, video
from lumosx.scene.palette import SUBJECT_COLOURS


@pytest.fixture(scope="module")
def result(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    pipe = LumosXPipeline.from_pretrained(tiny_checkpoint)
    scene = Scene.load(write_scene(tmp_path_factory.mktemp("scene"), meta={"ticket": 12}))
    found = pipe(scene, seed=3, progress=False)
    assert isinstance(found, Result)
    return found


def with_frames(result: Result, frames: np.ndarray, **output: Any) -> Result:
    return Result(frames, tiny_scene(output=output), result.record)


def ramp(frames: int, height: int, width: int) -> np.ndarray:
    """Smooth colours that change from frame to frame."""
    t, y, x = np.mgrid[0:frames, 0:height, 0:width].astype(float)
    channels = [x / width * 255, y / height * 255, t / frames * 200 + 20]
    return np.stack(channels, axis=-1).astype(np.uint8)


def read_mp4(path: Path) -> tuple[list[np.ndarray], Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts = {
            "comment": container.metadata.get("comment"), "rate": float(stream.average_rate),
            "codec": stream.codec_context.name, "format": stream.codec_context.pix_fmt,
            "matrix": stream.codec_context.colorspace,
        }  # fmt: skip
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], facts


@pytest.mark.parametrize("size", [(64, 96), (33, 47)])
def test_mp4_plays_with_the_right_colours_rate_and_label(result: Result, tmp_path: Path, size: tuple[int, int]) -> None:
    frames = ramp(9, *size)
    path = with_frames(result, frames).save(tmp_path / "clip.mp4")
    decoded, facts = read_mp4(path)
    assert len(decoded) == 9
    height, width = size
    assert decoded[0].shape == (height + height % 2, width + width % 2, 3)
    error = np.stack(decoded)[:, :height, :width].astype(float) - frames
    assert np.sqrt((error**2).mean()) < 4
    assert (facts["codec"], facts["format"], facts["rate"], facts["matrix"]) == ("h264", "yuv420p", 8.0, 1)
    assert facts["comment"].startswith("AI-generated video, made with LumosX")


def test_gif_and_frames(result: Result, tmp_path: Path) -> None:
    frames = ramp(5, 20, 30)
    with Image.open(with_frames(result, frames).save(tmp_path / "clip.gif")) as image:
        assert (image.n_frames, image.size) == (5, (30, 20))
        assert b"AI-generated" in image.info["comment"]
    folder = with_frames(result, frames).save(tmp_path / "v1.5.frames")
    stored = [np.array(Image.open(path)) for path in sorted(folder.iterdir())]
    assert np.array_equal(np.stack(stored), frames)
    shorter = with_frames(result, frames[:2]).save(folder)
    assert len(list(shorter.iterdir())) == 2
    assert json.loads((tmp_path / "v1.5.json").read_text())["clip"]["frames"] == 2


def test_output_section_switches_sidecar_and_label_off(result: Result, tmp_path: Path) -> None:
    frames = ramp(2, 16, 16)
    path = with_frames(result, frames, sidecar=False, ai_label=False).save(tmp_path / "clip.mp4")
    assert not path.with_suffix(".json").exists()
    assert read_mp4(path)[1]["comment"] is None


def test_an_unknown_suffix_is_an_error_that_touches_nothing(result: Result, tmp_path: Path) -> None:
    mine = tmp_path / "notes.json"
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"\.mp4, \.gif, \.frames"):
        result.save(mine)
    assert mine.read_text() == "mine"


def test_sidecar_says_everything(result: Result, tiny_checkpoint: Path, tmp_path: Path) -> None:
    clip = result.save(tmp_path / "deep" / "clip.mp4")
    data = json.loads(clip.with_suffix(".json").read_text())
    assert data["ai_generated"] is True
    assert data["label"].startswith("AI-generated")
    assert data["clip"]["sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert data["clip"]["frames_sha256"] == result.frames_sha256
    assert (data["seed"], data["settings"]["steps"], data["settings"]["solver"]) == (3, 3, "euler")
    assert data["consent"] == {"ben": "signed 2026-01-05"}
    assert data["meta"] == {"ticket": 12}
    weights = tiny_checkpoint / "transformer" / "diffusion_pytorch_model.safetensors"
    expected = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert data["model"]["files"]["transformer/diffusion_pytorch_model.safetensors"] == expected
    assert {"text_encoder/model.safetensors", "tokenizer/tokenizer.json"} <= data["model"]["files"].keys()
    carl = next(entity for entity in data["entities"] if entity["id"] == "carl.face")
    assert carl["mentions"] == [{"span": [47, 50], "text": "man"}]
    picture = Path(carl["picture"]["path"])
    assert carl["picture"]["sha256"] == hashlib.sha256(picture.read_bytes()).hexdigest()
    segments = [(s["name"], s["start"], s["stop"]) for s in data["layout"]["segments"]]
    assert segments[:3] == [("video", 0, 8), ("background", 8, 12), ("ben.face", 12, 16)]
    assert data["runtime"]["attention"]["backend"] == "sdpa"
    assert data["runtime"]["versions"].keys() >= {"python", "lumosx", "torch", "diffusers", "av"}
    assert data["scene"]["data"] == result.scene.to_dict()


def test_the_frames_hash_sees_one_bit_and_the_shape(result: Result) -> None:
    frames = result.frames.copy()
    frames[0, 0, 0, 0] ^= 1
    others = [frames, result.frames.reshape(5, 16, 64, 3)]
    hashes = {Result(f, result.scene, result.record).frames_sha256 for f in [result.frames, *others]}
    assert len(hashes) == 3


def test_a_failure_while_writing_leaves_the_old_clip_and_no_sidecar(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = result.save(tmp_path / "clip.mp4")
    before = clip.read_bytes()

    def fail(frames: np.ndarray, path: Path, fps: float, tags: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(video, "WRITERS", {".mp4": fail})
    with pytest.raises(OSError, match="disk full"):
        result.save(clip)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert clip.read_bytes() == before


def has_colour(sheet: Image.Image, colour: str) -> bool:
    return bool((np.array(sheet) == ImageColor.getrgb(colour)).all(axis=2).any())


def test_contact_sheet_frames_each_subject_in_its_colour(result: Result) -> None:
    sheet = result.contact_sheet()
    assert all(has_colour(sheet, colour) for colour in SUBJECT_COLOURS[:2])
    assert not has_colour(sheet, SUBJECT_COLOURS[2])
    assert has_colour(sheet, "#0000ff")  # carl's face
    enlarged = tuple(int(value) for value in result.frames[0, 16, 16])
    found = (np.array(sheet) == enlarged).all(axis=2).sum()
    assert found >= 100  # one pixel of the clip is at least 10 x 10 on the sheet


def test_contact_sheet_carries_the_label_only_where_the_scene_wants_it(result: Result) -> None:
    sheets = [np.array(with_frames(result, result.frames, ai_label=on).contact_sheet()) for on in (True, False)]
    changed = np.argwhere((sheets[0] != sheets[1]).any(axis=2))
    assert len(changed) and changed[:, 0].max() < 120  # in the heading
    assert (sheets[1][changed[:, 0], changed[:, 1]] == ImageColor.getrgb("#f4f2ee")).all()


@pytest.mark.parametrize("shape", [(1, 32, 32), (81, 60, 104), (5, 104, 60), (1, 480, 832)])
def test_contact_sheet_of_any_clip_fits_a_screen(result: Result, shape: tuple[int, int, int]) -> None:
    pipe = tiny_pipeline()
    plain = tiny_scene(subjects=None, background=None)
    record = pipe(plain, frames=1, progress=False).record
    for scene, facts in ((plain, record), (result.scene, result.record)):
        sheet = Result(ramp(*shape), scene, facts).contact_sheet()
        assert 900 < sheet.width < 2200
        assert sheet.height < 1800
