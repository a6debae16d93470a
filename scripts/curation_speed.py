"""How fast the cheap filters of curation are, and what orchestration costs: on synthetic clips, on one machine.

    .venv/bin/python scripts/curation_speed.py --clips 40

Prints milliseconds of one core for each filter and clip, the share that ledger and all add to that, and clips a second
with one process for each core. Nothing is read by OCR: its network would take longer than all filters together, and is
asked only where lettering may be.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np

from lumosx.curation import isolated
from lumosx.curation.blobs import Blobs
from lumosx.curation.curate import clips_of
from lumosx.curation.ledger import Ledger
from lumosx.curation.run import Kind, Stages, Standing, Worker, advance, local
from lumosx.curation.sources import Clip, Source
from lumosx.curation.stage import Look
from lumosx.curation.stages.borders import BorderCrop
from lumosx.curation.stages.grey import Greyscale
from lumosx.curation.stages.motion import Motion
from lumosx.curation.stages.shots import ShotSplit
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Shots
from lumosx.records import Model
from lumosx.vision import ModelCard, Picture, Written
from lumosx.vision.motion import DisFlow, Preset

HEIGHT, WIDTH = 480, 854
TURNS = 4
SECONDS = 5.1  # 81 frames at 16 a second, and a little
FILTERS: Sequence[Kind] = (BorderCrop, Greyscale, SubtitleText, Technical, Motion)


class NoReader:
    """Reads nothing, at no cost."""

    card = ModelCard("none", "scripts", "1", "Apache-2.0", True)

    def read(self, picture: Picture) -> list[Written]:
        del picture
        return []


def make_stages(preset: Preset) -> Stages:
    return {
        ShotSplit: ShotSplit(),
        BorderCrop: BorderCrop(),
        Greyscale: Greyscale(),
        SubtitleText: SubtitleText(NoReader()),
        Technical: Technical(),
        Motion: Motion(DisFlow(preset)),
    }


def write_video(path: Path, seed: int, fps: int) -> Path:
    """A ball before a wall with grain; both move."""
    frames = round(SECONDS * fps)
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (40, 70, 3), dtype=np.uint8)
    wall = cv2.resize(coarse, (WIDTH + frames, HEIGHT), interpolation=cv2.INTER_CUBIC)
    wall = np.clip(wall + generator.integers(-12, 13, (*wall.shape[:2], 1)), 0, 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "21", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            frame = wall[:, number : number + WIDTH].copy()
            cv2.circle(frame, (150 + 2 * number, 250), 80, (200, 40, 40), -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def core_seconds() -> float:
    """Of this process and of the one that reads videos."""
    return time.process_time() + isolated.call(time.process_time, seconds=60)


def direct(sources: Sequence[Source], stages: Stages, out: Path) -> dict[str, float]:
    """Core seconds of each stage, asked without anything around it."""
    spent, blobs = dict.fromkeys((kind.name for kind in (ShotSplit, *FILTERS)), 0.0), Blobs(out)
    for source in sources:
        started = core_seconds()
        shots: Shots = stages[ShotSplit].measure(Look(source, {}, blobs))
        spent[ShotSplit.name] += core_seconds() - started
        for clip in (Clip(source, start, end) for start, end in shots.clips):
            values: dict[Kind, Model] = {}
            for kind in FILTERS:
                started = time.process_time()
                values[kind] = stages[kind].measure(Look(clip, values, blobs))
                spent[kind.name] += time.process_time() - started
    return spent


def orchestrated(sources: Sequence[Source], stages: Stages, out: Path) -> int:
    """The same through the ledger; the number of clips."""
    ledger, engine = Ledger(out / "ledger"), local(Worker(stages, out))
    split = advance(list(map(Standing, sources)), (ShotSplit,), stages, ledger, engine, budget=0.0)
    clips = clips_of(split)
    advance(list(map(Standing, clips)), FILTERS, stages, ledger, engine, budget=0.0)
    return len(clips)


def prepare(preset: Preset, sources: Sequence[Source], out: Path) -> Stages:
    """The stages, after they ran once, so that libraries are loaded."""
    cv2.setNumThreads(1)
    stages = make_stages(preset)
    orchestrated(sources[:1], stages, out / "first")
    return stages


def one_process(preset: Preset, sources: Sequence[Source], out: Path, start: float) -> tuple[int, float]:
    """Clips done, and when; begins at a time that is given, with all other processes."""
    stages = prepare(preset, sources, out)
    time.sleep(max(0.0, start - time.time()))
    return orchestrated(sources, stages, out), time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--fps", type=int, default=24, help="of the videos")
    parser.add_argument("--preset", choices=("ultrafast", "fast", "medium"), default="fast", help="of the flow")
    parser.add_argument("--warm-up", type=float, default=30.0, help="seconds that processes have to start in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = [write_video(root / f"{seed}.mp4", seed, options.fps) for seed in range(options.clips)]
        sources = [Source(f"{number:016x}", path, path.name) for number, path in enumerate(paths)]
        stages = prepare(options.preset, sources, root / "warm")
        spent, taken, clips = Counter[str](), 0.0, 0
        for turn in range(TURNS):  # by turns, so that what else the machine does slows both
            part = sources[turn::TURNS]
            spent.update(direct(part, stages, root / f"direct{turn}"))  # pyright: ignore[reportArgumentType]
            started = core_seconds()
            clips += orchestrated(part, stages, root / f"orchestrated{turn}")
            taken += core_seconds() - started
        for name, seconds in spent.items():
            print(f"{name:>10} {1000 * seconds / clips:6.0f} ms")
        total = sum(spent.values())
        print(
            f"{'all':>10} {1000 * total / clips:6.0f} ms of one core a clip; orchestration adds {taken / total - 1:.1%}"
        )
        cores, start = len(os.sched_getaffinity(0)), time.time() + options.warm_up
        with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
            running = [
                pool.submit(one_process, options.preset, sources[core::cores], root / f"core{core}", start)
                for core in range(cores)
            ]
            done = [each.result() for each in running]
        lasted = max(ended for _, ended in done) - start
        print(f"{sum(count for count, _ in done) / lasted:.2f} clips a second on {cores} cores")


if __name__ == "__main__":
    main()
