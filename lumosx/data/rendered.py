"""Clips of the playground as a data set: what training reads, people look at and other tools open, one copy of each.

A clip is a folder with its video, its scene (which names the video's pictures, and is what `lumosx sample` takes), the
spans of its caption, all frames in one PNG, and everything that is true of it. `clips.jsonl` holds the same as records.
The same clips give the same bytes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from lumosx.data.scene_folders import SCENE, VIDEO
from lumosx.data.store import open_store, write_jsonl
from lumosx.files import write_json
from lumosx.mp4 import write_mp4
from lumosx.playground import Clips
from lumosx.scene import Scene

FPS = 8
SHOWN = 192  # least height of a frame in frames.png
SPACE = 4  # pixels between frames there


def write_clip_folder(clips: Clips, index: int, data_set: Path, picture_size: int) -> None:
    """Writes clip `index` into a new folder of `data_set`, named by the scene's id.

    Args:
        clips: as rendered.
        index: of the clip among them.
        data_set: the folder.
        picture_size: height of the reference pictures.
    """
    truth, scene, frames = clips.truth[index], clips.scene(index, picture_size), clips.frames(index)
    folder = data_set / scene["id"]
    folder.mkdir(parents=True)
    if truth.split == "validation":
        scene["meta"] = {"split": truth.split}  # which training obeys
    _write_yaml(_with_saved_pictures(scene, folder), folder / SCENE)
    write_json(truth.to_dict(), folder / "truth.json")
    write_json(_caption(Scene.load(folder / SCENE)), folder / "caption.json")
    write_lossless(frames, folder / VIDEO, FPS)
    _strip(frames).save(folder / "frames.png")


def write_index(data_set: Path) -> None:
    """Writes `clips.jsonl` from the clips' folders: what the scenes say and the videos are, nothing else."""
    write_jsonl(open_store(data_set).records, data_set)


def write_lossless(frames: np.ndarray, path: Path, fps: int) -> None:
    """Writes an MP4 that keeps every pixel to within 2 of 255; the same frames give the same bytes.

    Players want half of the colours' resolution, which small clips cannot spare: at 64x64 that leaves a PSNR of 27 dB
    at any bit rate, and this has 52 dB.

    Args:
        frames: uint8 [F, H, W, 3].
        path: *.mp4.
        fps: frames a second.
    """
    write_mp4(frames, path, fps, {"qp": "0"}, "yuv444p")


def _write_yaml(data: dict[str, Any], path: Path) -> None:
    yaml = YAML()
    yaml.width = 100
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yaml.dump(data, file)


def _caption(scene: Scene) -> dict[str, Any]:
    """The text without tags, and every mention in it in order: what it names, and whose that is."""
    mentions = [
        {
            "text": scene.prompt[start:stop],
            "span": [start, stop],
            "entity": entity.id,
            "kind": entity.kind,
            "owner": None if entity.subject is None else scene.subjects[entity.subject].id,
        }
        for entity in scene.entities
        for start, stop in entity.spans
    ]
    return {"caption": scene.prompt, "mentions": sorted(mentions, key=lambda mention: mention["span"])}


def _strip(frames: np.ndarray) -> Image.Image:
    """All frames side by side, exact, each pixel made large enough to be seen."""
    times = -(-SHOWN // frames.shape[1])
    shown = frames.repeat(times, axis=1).repeat(times, axis=2)
    strip = Image.new("RGB", (len(shown) * (shown.shape[2] + SPACE) - SPACE, shown.shape[1]), "white")
    for number, frame in enumerate(shown):
        strip.paste(Image.fromarray(frame), (number * (shown.shape[2] + SPACE), 0))
    return strip


def _with_saved_pictures(scene: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The scene with its pictures saved under refs/ and their paths in their places."""
    (folder / "refs").mkdir()

    def saved(entry: dict[str, Any], *names: str, field: str = "image") -> dict[str, Any]:
        path = f"refs/{'_'.join(names).replace(' ', '_')}.png"
        entry[field].save(folder / path)
        return entry | {field: path}

    def subject(entry: dict[str, Any]) -> dict[str, Any]:
        attributes = [saved(item, entry["id"], item["word"]) for item in entry["attributes"]]
        return saved(entry, entry["id"], "face", field="face") | {"attributes": attributes}

    written = scene | {"subjects": [subject(entry) for entry in scene["subjects"]]}
    if "background" in scene:
        written["background"] = saved(scene["background"], "background", scene["background"]["word"])
    if "objects" in scene:
        written["objects"] = [saved(item, "object", item["word"]) for item in scene["objects"]]
    return written
