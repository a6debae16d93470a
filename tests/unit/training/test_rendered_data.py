"""A data set of the playground, trained on as it was written."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from lumosx.data.batch import Bucket
from lumosx.data.rendered import write_clip_folder, write_index
from lumosx.playground import World
from lumosx.training.config import Config
from lumosx.training.ranks import Ranks
from lumosx.training.trainer import Trainer


def test_a_run_trains_on_rendered_clips(config: Config, tmp_path: Path) -> None:
    bucket = Bucket.parse(config.data.buckets[0])
    clips = World((bucket.width, bucket.height), bucket.frames).render(range(4), split="show", subjects=2)
    for index in range(len(clips)):
        write_clip_folder(clips, index, tmp_path / "world", 64)
    write_index(tmp_path / "world")
    data = replace(config.data, path=str(tmp_path / "world"))
    Trainer(replace(config, data=data), Ranks(0, 1, torch.device("cpu"))).fit()
    lines = [json.loads(line) for line in (config.folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert not (config.folder / "broken.jsonl").exists()
