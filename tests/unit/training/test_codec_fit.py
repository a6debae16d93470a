"""The fit of the tiny codec: principal components of blocks, the statistics of its latents, and what a run leaves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lumosx.data.batch import Bucket
from lumosx.data.encoder import Encoder
from lumosx.errors import InputError
from lumosx.models import LinearCodec, SpaceToDepthCodec
from lumosx.models.codec import encode_latents, to_blocks
from lumosx.paths import configs_dir
from lumosx.playground import Clips
from lumosx.training.codec import fit_codec, moments, principal_components, psnr, rendered, stills, train_codec
from lumosx.training.config import CodecConfig, Config, load_config

SMALL = CodecConfig(channels=24, spatial=4, temporal=4, clips=12)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips() -> list[Clips]:
    """A batch of 16 and one of 8."""
    return [*rendered("train", [Bucket(32, 32, 9)], 24)]


@pytest.fixture(scope="module")
def codec(clips: list[Clips]) -> LinearCodec:
    return fit_codec(SMALL, *moments(clips, 4, 4))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    changes = [f"run.root={tmp_path}", "data.buckets=[32x32x9]", "codec.clips=2", "codec.channels=8"]
    return load_config(["experiment=tiny_codec", *changes], configs_dir())


def test_the_components_are_orthonormal_and_ordered_by_what_they_tell() -> None:
    values = torch.randn(500, 12, generator=torch.Generator().manual_seed(0)).double() * torch.arange(1, 13)
    basis = principal_components(values.T.cov(), 5)
    torch.testing.assert_close(basis @ basis.T, torch.eye(5, dtype=torch.float64))
    variances = (values @ basis.T).var(dim=0)
    assert variances.tolist() == sorted(variances.tolist(), reverse=True)
    torch.testing.assert_close(variances.sum(), torch.linalg.eigvalsh(values.T.cov())[-5:].sum())


def test_the_largest_number_of_a_component_is_positive() -> None:
    vector = torch.tensor([0.6, -0.8]).double()
    torch.testing.assert_close(principal_components(vector.outer(vector), 1)[0], -vector)


def test_batches_do_not_change_the_fit(clips: list[Clips], codec: LinearCodec) -> None:
    """The sums over batches are the covariance of all blocks, of clips and of pictures."""
    blocks = torch.cat(
        [to_blocks(videos, 4, 4).movedim(1, -1).flatten(0, -2) for c in clips for videos in (c.video, stills(c))]
    ).double()
    torch.testing.assert_close(codec.mean, blocks.mean(0).float())
    expected = torch.linalg.eigvalsh(blocks.T.cov(correction=0))[-24:].sum()
    kept = ((blocks - blocks.mean(0)) @ codec.basis.double().T).square().mean(0).sum()
    torch.testing.assert_close(kept, expected)


def test_normalised_latents_of_clips_have_mean_0_and_mean_square_1_and_keep_their_scales(
    clips: list[Clips], codec: LinearCodec
) -> None:
    latents = torch.cat([encode_latents(codec, batch.video) for batch in clips])
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3, 4)), torch.zeros(24), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.square().mean(), torch.tensor(1.0), atol=1e-4, rtol=0)
    assert len(set(codec.config.latents_std)) == 1
    spread = latents.std(dim=(0, 2, 3, 4))
    assert spread[0] > 4 * spread[-1]


def test_psnr_is_of_8_bit_values(clips: list[Clips]) -> None:
    assert psnr(SpaceToDepthCodec(), (batch.video for batch in clips)) == float("inf")
    grey = LinearCodec(4, 4, 1)  # keeps the first pixel's red of each block; everything else turns 0, which is 128
    white = torch.ones(1, 3, 1, 4, 4)
    wrong = 47 * 127**2 + (255 - round(127.5 + 127.5 / 4)) ** 2  # that red comes back as the mean of 4 copies, one kept
    assert psnr(grey, [white]) == pytest.approx(10 * torch.tensor(255**2 * 48 / wrong).log10().item())


def test_more_channels_lose_less_on_unseen_clips(clips: list[Clips], codec: LinearCodec) -> None:
    unseen = [batch.video for batch in rendered("validation", [Bucket(32, 32, 9)], 8)]
    finer = fit_codec(replace(SMALL, channels=96), *moments(clips, 4, 4))
    assert psnr(finer, unseen) > psnr(codec, unseen) + 3


def test_runs_of_different_seeds_and_splits_see_different_clips() -> None:
    buckets = [Bucket(32, 32, 9)]
    seen = [next(rendered(split, buckets, 1, seed)).video for split, seed in (("train", 0), ("train", 1), ("test", 0))]
    assert not any(torch.equal(seen[i], seen[j]) for i in range(3) for j in range(i))


def test_a_run_leaves_what_the_trainer_opens_and_says_how_good_it_is(config: Config) -> None:
    export = train_codec(config)
    assert export == config.folder / "export"
    measured = json.loads((config.folder / "accuracy.json").read_text())
    assert measured.keys() == {"psnr_clips", "psnr_references"} and min(measured.values()) > 10
    encoder = Encoder.open("checkpoints/lumosx-tiny", str(export), CPU)
    assert type(encoder.codec) is LinearCodec
    assert encoder.video(torch.zeros(1, 3, 9, 32, 32)).shape == (1, 8, 3, 4, 4)
    assert encoder.references(torch.zeros(5, 3, 32, 32)).shape == (8, 5, 4, 4)


def test_the_same_command_leaves_a_fitted_codec_alone_and_makes_the_same_one_anew(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = train_codec(config) / "vae" / "diffusion_pytorch_model.safetensors"
    before = (weights.stat().st_mtime_ns, weights.read_bytes())
    assert train_codec(replace(config, train=replace(config.train, threads=1))) == config.folder / "export"
    assert "already trained" in capsys.readouterr().out
    assert config.codec is not None
    with pytest.raises(InputError, match=r"codec\.channels: 8 -> 9"):
        train_codec(replace(config, codec=replace(config.codec, channels=9)))
    assert (weights.stat().st_mtime_ns, weights.read_bytes()) == before
    again = train_codec(replace(config, run=replace(config.run, name="again")))
    assert (again / "vae" / weights.name).read_bytes() == before[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lr=1.0", r"the fit of a codec does not read optim\.lr"),
        ("train.steps=3", r"does not read train\.steps"),
        ("data.clips=3", r"data\.clips"),
        ("codec.clips=0", r"codec\.clips=0: the least is 1"),
        ("codec.channels=769", r"codec\.channels.*from 1 to 3 \* 4 \* 8\^2 = 768"),
        ("data.buckets=[36x36x9]", r"a video of 9 frames of 36x36: .* multiples of 8"),
        ("data.buckets=[64x64]", r"data\.buckets: '64x64' is not WIDTHxHEIGHTxFRAMES"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        train_codec(load_config(["experiment=tiny_codec", f"run.root={tmp_path}", override], configs_dir()))
    assert not [*tmp_path.iterdir()]
