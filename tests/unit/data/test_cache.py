"""The cache: what training reads from it equals, bit for bit, what it would have encoded; damage never passes."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from clips_in_memory import picture, reading, store_of, two_men, video
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import tiny_pipeline
from torch import Tensor

from lumosx.data.batch import Batch, EncodedBatch, StepData
from lumosx.data.cache import CacheReader, cache_settings, read_entry, write_entry
from lumosx.data.encoder import Encoder
from lumosx.data.fill_cache import Filled, fill_cache, verify_cache
from lumosx.data.loader import Share, open_source, training_steps
from lumosx.data.source import Records
from lumosx.data.store import Store, write_jsonl
from lumosx.errors import InputError
from lumosx.references import Augmentation

CPU = torch.device("cpu")
NAMES = [f"clip-{number}" for number in range(3)]
VARIED: dict[str, Any] = {
    "variants": 2, "augment": Augmentation(), "shuffle": True,
    "text_dropout": 0.3, "reference_dropout": 0.2, "entity_dropout": 0.2,
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(text_encoder: Path) -> Encoder:
    """With the tiny model's codec."""
    return Encoder.open(str(text_encoder), "lumosx-tiny", CPU)


@pytest.fixture(scope="module")
def wan(text_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """With a random `AutoencoderKLWan`."""
    folder = tmp_path_factory.mktemp("codec")
    tiny_pipeline().vae.save_pretrained(folder / "vae")
    return Encoder.open(str(text_encoder), str(folder), CPU)


def three_clips(**files: bytes) -> Store:
    """Clips with videos of their own."""
    own = {f"{name}.mkv": video(20 + number) for number, name in enumerate(NAMES)}
    clips = [two_men(name, video=f"{name}.mkv", frames=20 + number) for number, name in enumerate(NAMES)]
    return store_of(*clips, **{**own, **files})


def write_media(store: Store, folder: Path) -> None:
    """Clips as a data set on the disk."""
    folder.mkdir()
    for name in {name for record in store.records for name in record.media()}:
        (folder / name).write_bytes(store.open(name).getvalue())
    write_jsonl(store.records, folder)


def source_of(text_encoder: Path, store: Store | None = None, **data: Any) -> Records:
    return Records(reading(text_encoder, **{"variants": 2, **data}), store or three_clips())


def fill(folder: Path, source: Records, encoder: Encoder, **options: Any) -> Filled:
    return fill_cache(folder, source, encoder, **{"dtype": torch.float32, **options})


def cached(folder: Path, source: Records, encoder: Encoder) -> Records:
    """The same source reading the cache."""
    how = dataclasses.replace(source.reading, data=dataclasses.replace(source.reading.data, cache=str(folder)))
    return Records(how, source.store, CacheReader(folder, cache_settings(how, encoder)))


def keys_of(folder: Path) -> dict[str, str]:
    """Sample -> key, of all manifests."""
    return {
        sample: entry["key"]
        for path in folder.glob("manifests/*/*.json")
        for sample, entry in json.loads(path.read_text())["entries"].items()
    }


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*.safetensors"))


def path_of(folder: Path, sample: str) -> Path:
    key = keys_of(folder)[sample]
    return folder / key[:2] / f"{key}.safetensors"


def flip(path: Path, place: int) -> None:
    """Flips one bit of a file; `place` counts from its end if it is negative."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def steps_of(source: Records, steps: int, share: Share | None = None) -> list[StepData]:
    return list(training_steps(source, share or Share(4), steps=steps))


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().numpy().tobytes()


def seen(steps: list[StepData], encoder: Encoder) -> list[Any]:
    """What the model would see, encoded here where the batches are pixels."""
    batches = []
    for step in steps:
        for batch in step.batches:
            encoded = encoder(batch) if isinstance(batch, Batch) else batch
            batches.append(
                (
                    encoded.samples, bits(encoded.latents), [bits(shown) for shown in encoded.references],
                    bits(encoded.text), encoded.layouts,
                )
            )  # fmt: skip
    return batches


@pytest.fixture(scope="module")
def filled(text_encoder: Path, tiny: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants of three clips, nothing varied or dropped."""
    folder = tmp_path_factory.mktemp("filled")
    assert fill(folder, source_of(text_encoder), tiny) == Filled(entries=6, made=6, broken=[])
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(filled, tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["tiny", "wan"])
def test_batches_from_the_cache_are_those_encoded_on_the_fly(
    tmp_path: Path, text_encoder: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    encoder: Encoder = request.getfixturevalue(kind)
    source = source_of(text_encoder, **VARIED)
    assert fill(tmp_path, source, encoder) == Filled(entries=6, made=6, broken=[])
    pixels, latents = steps_of(source, steps=3), steps_of(cached(tmp_path, source, encoder), steps=3)
    assert all(isinstance(batch, EncodedBatch) for step in latents for batch in step.batches)
    assert seen(latents, encoder) == seen(pixels, encoder)
    visits = [sample.split("#")[1] for step in latents for sample in step.order]
    assert set(visits) == {"0", "1", "2", "3"}  # the two variants come round again
    counts = {len(layout.references) for step in pixels for batch in step.batches for layout in batch.layouts}
    assert 0 in counts and len(counts) > 2  # references were dropped, all of them or some


def test_ranks_and_pieces_of_cached_batches_have_the_batch_of_one(
    tmp_path: Path, text_encoder: Path, tiny: Encoder
) -> None:
    source = source_of(text_encoder, **VARIED)
    fill(tmp_path, source, tiny)
    reader = cached(tmp_path, source, tiny)
    whole = seen(steps_of(reader, 1), tiny)[0]
    parts = [seen(steps_of(reader, 1, Share(4, micro_batch=1, rank=rank, size=2)), tiny) for rank in range(2)]
    assert [part[2][0] for rank in parts for part in rank] == whole[2]


def test_a_source_with_a_cache_opens_by_its_configuration(tmp_path: Path, tiny: Encoder, text_encoder: Path) -> None:
    write_media(three_clips(), tmp_path / "clips")
    how = reading(text_encoder, path=str(tmp_path / "clips"), variants=2, cache=str(tmp_path / "cache"))
    with pytest.raises(InputError, match="holds no finished cache"):
        open_source(how, tiny)
    source = open_source(reading(text_encoder, path=str(tmp_path / "clips"), variants=2))
    assert isinstance(source, Records)
    fill(tmp_path / "cache", source, tiny)
    opened = open_source(how, tiny)
    assert isinstance(opened, Records)
    assert seen(steps_of(opened, 2), tiny) == seen(steps_of(source, 2), tiny)


# filling


def test_a_second_filling_makes_nothing_and_changes_no_byte(folder: Path, text_encoder: Path, tiny: Encoder) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files_of(folder)}
    assert len(before) == 7  # with the empty text
    assert fill(folder, source_of(text_encoder), tiny) == Filled(entries=6, made=0, broken=[])
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files_of(folder)} == before


def test_what_is_missing_or_damaged_is_made_again(folder: Path, text_encoder: Path, tiny: Encoder) -> None:
    before = {path: path.read_bytes() for path in files_of(folder)}
    lost, torn, flipped = (path_of(folder, sample) for sample in ("clip-0#0", "clip-1#0", "clip-2#0"))
    lost.unlink()
    torn.write_bytes(torn.read_bytes()[:1000])
    flip(flipped, -1)
    assert fill(folder, source_of(text_encoder), tiny) == Filled(entries=6, made=3, broken=[])
    assert {path: path.read_bytes() for path in files_of(folder)} == before


def test_workers_change_nothing(tmp_path: Path, filled: Path, text_encoder: Path, tiny: Encoder) -> None:
    fill(tmp_path, source_of(text_encoder, workers=2), tiny)
    alone, spread = ({path.name: path.read_bytes() for path in files_of(place)} for place in (filled, tmp_path))
    assert spread == alone


def test_more_variants_add_to_those_that_are_there(folder: Path, text_encoder: Path, tiny: Encoder) -> None:
    """They are made, unless a window was drawn again."""
    before = set(keys_of(folder).values())
    filled = fill(folder, source_of(text_encoder, variants=3), tiny)
    assert filled.entries == 9 and filled.made == len({*keys_of(folder).values()} - before) > 0


def test_only_a_clip_whose_media_changed_is_made_again(folder: Path, text_encoder: Path, tiny: Encoder) -> None:
    changed = {"clip-2.mkv": video(22, width=48)}
    assert fill(folder, source_of(text_encoder, three_clips(**changed)), tiny).made == 2
    changed["carl.png"] = picture("black")
    assert fill(folder, source_of(text_encoder, three_clips(**changed)), tiny).made == 6


@pytest.mark.parametrize(
    "changes",
    [{"buckets": ["48x32x9"]}, {"buckets": ["32x32x5"]}, {"fps": 4.0}, {"augment": Augmentation()}],
    ids=str,
)
def test_settings_that_change_tensors_change_names(
    tmp_path: Path, filled: Path, text_encoder: Path, tiny: Encoder, changes: dict[str, Any]
) -> None:
    fill(tmp_path, source_of(text_encoder, variants=1, **changes), tiny, rank=0, ranks=3)
    assert keys_of(tmp_path).keys() == {"clip-0#0"}
    assert keys_of(tmp_path)["clip-0#0"] not in keys_of(filled).values()


def test_another_codec_text_encoder_or_type_changes_names(
    tmp_path: Path, filled: Path, text_encoder: Path, tiny: Encoder, wan: Encoder
) -> None:
    half = Encoder.open(str(text_encoder), "lumosx-tiny", CPU, torch.bfloat16)
    names = [path.name for path in files_of(filled)]
    for number, (encoder, dtype) in enumerate([(wan, torch.float32), (half, torch.float32), (tiny, torch.bfloat16)]):
        fill(tmp_path / str(number), source_of(text_encoder), encoder, dtype=dtype, rank=0, ranks=3)
        names += [path.name for path in files_of(tmp_path / str(number))]
    assert len(set(names)) == len(names) == 7 + 3 * 3


def test_variants_that_show_the_same_are_one_file(tmp_path: Path, text_encoder: Path, tiny: Encoder) -> None:
    """A clip as short as its bucket has one window, one face is no choice, and nothing is augmented."""
    ben = {"id": "ben", "word": "man", "faces": [{"image": "ben1.png"}]}
    caption = "A man stands in a park with a ball."
    clip = two_men("only", frames=9, video="short.mkv", subjects=[ben], caption=caption)
    source = source_of(text_encoder, store_of(clip, **{"short.mkv": video(9)}), variants=3)
    assert fill(tmp_path, source, tiny).entries == 3
    assert len(set(keys_of(tmp_path).values())) == 1


def test_bfloat16_is_stored_on_demand_and_read_as_float32(tmp_path: Path, text_encoder: Path, wan: Encoder) -> None:
    source = source_of(text_encoder)
    fill(tmp_path, source, wan, dtype=torch.bfloat16)
    assert {read_entry(tmp_path, key)["video"].dtype for key in keys_of(tmp_path).values()} == {torch.bfloat16}
    stored, exact = (steps_of(one, 1, Share(2))[0].batches[0] for one in (cached(tmp_path, source, wan), source))
    assert isinstance(stored, EncodedBatch) and isinstance(exact, Batch)
    encoded = wan(exact)
    assert torch.equal(stored.latents, encoded.latents.bfloat16().float())
    assert torch.equal(stored.text, encoded.text.bfloat16().float())


# broken samples


def test_broken_clips_are_listed_and_the_others_kept(tmp_path: Path, text_encoder: Path, tiny: Encoder) -> None:
    """Training replaces them as it does without a cache."""
    source = source_of(text_encoder, three_clips(**{"clip-2.mkv": b"torn"}))
    filled = fill(tmp_path, source, tiny)
    assert (filled.entries, filled.made) == (4, 4)
    assert [item.sample for item in filled.broken] == ["clip-2#0", "clip-2#1"]
    assert all(item.reason.startswith("clip-2.mkv: ") for item in filled.broken)
    pixels, latents = steps_of(source, 2), steps_of(cached(tmp_path, source, tiny), 2)
    assert seen(latents, tiny) == seen(pixels, tiny)
    told = [[item.sample for step in steps for item in step.broken] for steps in (pixels, latents)]
    assert told[0] == told[1] != []


def test_a_missing_file_is_told_by_its_name(tmp_path: Path, text_encoder: Path, tiny: Encoder) -> None:
    store = store_of(*three_clips().records)  # without the clips' own videos
    filled = fill(tmp_path, source_of(text_encoder, store), tiny)
    assert filled.entries == 0 and len(filled.broken) == 6
    assert "clip-0.mkv" in filled.broken[0].reason


def test_a_flipped_bit_is_a_broken_sample_that_says_what_to_do(folder: Path, text_encoder: Path, tiny: Encoder) -> None:
    flip(path_of(folder, "clip-1#0"), -100)
    steps = steps_of(cached(folder, source_of(text_encoder), tiny), 1)
    broken = [item for step in steps for item in step.broken]
    assert [item.sample for item in broken] == ["clip-1#0"]
    assert "is damaged" in broken[0].reason and "run `lumosx cache`" in broken[0].reason


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_a_byte_goes_unnoticed(tmp_path: Path, data: st.DataObject) -> None:
    tensors = {"video": torch.randn(4, 2, 3, 3), "references": torch.zeros(4, 0, 3, 3), "text": torch.randn(3, 5)}
    write_entry(tmp_path, "abc", tensors, torch.float32)
    path = tmp_path / "ab" / "abc.safetensors"
    whole = read_entry(tmp_path, "abc")
    assert all(torch.equal(whole[name], tensor) for name, tensor in tensors.items())
    del whole  # maps the file
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        read_entry(tmp_path, "abc")


def test_a_file_in_the_place_of_another_is_damage(folder: Path) -> None:
    one, other = files_of(folder)[:2]
    shutil.copyfile(other, one)
    with pytest.raises(InputError, match="is damaged"):
        read_entry(folder, one.stem)


def test_verifying_reads_everything_and_names_what_is_damaged(folder: Path) -> None:
    assert verify_cache(folder) == Filled(entries=7, made=0, broken=[])
    flip(path_of(folder, "clip-2#1"), -1)
    halves = [verify_cache(folder, rank, 2) for rank in range(2)]
    assert sum(half.entries for half in halves) == 6
    assert [item.sample for half in halves for item in half.broken] == ["clip-2#1"]


def test_there_must_be_something_to_verify(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished cache"):
        verify_cache(tmp_path)


# settings and ranks


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fps": 4.0}, r"data\.fps: 8\.0 -> 4\.0"),
        ({"buckets": ["48x32x9"]}, r"data\.buckets: \['32x32x9'\] -> \['48x32x9'\]"),
        ({"variants": 3}, r"data\.variants: 2 -> 3"),
        ({"augment": Augmentation()}, r"data\.augment: None -> .*'rotate': 20\.0.*"),
        ({"subjects": [0.0, 0.5, 0.5]}, r"data\.subjects above 0: \[1, 2\] -> \[2, 3\]"),
    ],
    ids=str,
)
def test_a_cache_for_other_settings_is_refused_by_what_differs(
    filled: Path, text_encoder: Path, tiny: Encoder, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=rf"made for other settings[^\n]*\n  {told}\nAsk for the cached ones"):
        cached(filled, source_of(text_encoder, **changes), tiny)


def test_a_cache_of_another_codec_is_refused(filled: Path, text_encoder: Path, wan: Encoder) -> None:
    with pytest.raises(InputError, match=r"\n  model\.codec: sha256:\w+ -> sha256:\w+\nAsk"):
        cached(filled, source_of(text_encoder), wan)


@pytest.mark.parametrize("changes", [{"subjects": [0.1, 0.9]}, {"text_dropout": 0.5}, {"workers": 1}], ids=str)
def test_settings_that_change_no_tensor_share_a_cache(
    filled: Path, text_encoder: Path, tiny: Encoder, changes: dict[str, Any]
) -> None:
    steps = steps_of(cached(filled, source_of(text_encoder, **changes), tiny), 1)
    assert [step.broken for step in steps] == [[]]


def test_runs_with_different_settings_can_use_one_folder(folder: Path, text_encoder: Path, tiny: Encoder) -> None:
    slow, fast = source_of(text_encoder, fps=4.0), source_of(text_encoder)
    fill(folder, slow, tiny)
    for source in (slow, fast):
        assert seen(steps_of(cached(folder, source, tiny), 1), tiny) == seen(steps_of(source, 1), tiny)


def test_ranks_share_the_clips_and_training_waits_for_all_of_them(
    tmp_path: Path, text_encoder: Path, tiny: Encoder
) -> None:
    source = source_of(text_encoder)
    assert fill(tmp_path, source, tiny, rank=1, ranks=2).made == 2
    with pytest.raises(InputError, match="has not finished its rank 0 of 2"):
        cached(tmp_path, source, tiny)
    assert fill(tmp_path, source, tiny, rank=0, ranks=2).made == 4
    assert sorted(keys_of(tmp_path)) == sorted(f"{name}#{variant}" for name in NAMES for variant in range(2))
    assert seen(steps_of(cached(tmp_path, source, tiny), 1), tiny) == seen(steps_of(source, 1), tiny)


def test_a_filling_by_another_number_of_ranks_replaces_the_manifests(
    folder: Path, text_encoder: Path, tiny: Encoder
) -> None:
    """Those of before would lead to what a changed clip once was."""
    changed = source_of(text_encoder, three_clips(**{"clip-0.mkv": video(20, width=48)}))
    for rank in range(2):
        fill(folder, changed, tiny, rank=rank, ranks=2)
    assert sorted(path.name for path in folder.glob("manifests/*/*.json")) == ["0-of-2.json", "1-of-2.json"]
    assert seen(steps_of(cached(folder, changed, tiny), 1), tiny) == seen(steps_of(changed, 1), tiny)


def test_a_manifest_of_another_format_is_refused(folder: Path, text_encoder: Path, tiny: Encoder) -> None:
    (path,) = folder.glob("manifests/*/*.json")
    path.write_text(path.read_text().replace("lumosx.cache/1", "lumosx.cache/9"))
    with pytest.raises(InputError, match=r"format 'lumosx\.cache/1', not 'lumosx\.cache/9'"):
        cached(folder, source_of(text_encoder), tiny)
    path.write_text("{")
    with pytest.raises(InputError, match="is no manifest"):
        cached(folder, source_of(text_encoder), tiny)
