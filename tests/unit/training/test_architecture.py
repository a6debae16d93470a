"""The architecture of a run is found without its weights: stated, in a run's export, or Wan's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from lumosx import LumosXTransformer3DModel
from lumosx.errors import InputError
from lumosx.models.cost import parameters
from lumosx.paths import configs_dir
from lumosx.training.architecture import codec_config, text_encoder_config, transformer_config
from lumosx.training.config import Config, load_config


def config_of(*overrides: str) -> Config:
    return load_config(list(overrides), configs_dir())


def test_wan_needs_no_download() -> None:
    config = config_of("experiment=phase1_480p")
    assert sum(parameters(transformer_config(config)).values()) == 1_418_996_800
    codec = codec_config(config)
    assert (codec["z_dim"], codec["scale_factor_spatial"], codec["scale_factor_temporal"]) == (16, 8, 4)
    assert text_encoder_config(config)["d_model"] == 4096


def test_what_is_stated_goes_over_what_the_checkpoint_says() -> None:
    config = config_of("experiment=lora_tiny", "+model.transformer.mcam_ratio=0.25")
    transformer = transformer_config(config)
    assert (transformer["num_layers"], transformer["prediction"], transformer["mcam_ratio"]) == (6, "sample", 0.25)
    LumosXTransformer3DModel(**transformer)


def test_a_finished_run_is_read_from_its_export(tmp_path: Path) -> None:
    folder = tmp_path / "first" / "export" / "transformer"
    folder.mkdir(parents=True)
    facts: dict[str, Any] = {"_class_name": "LumosXTransformer3DModel", "num_layers": 7, "of_another_version": 1}
    (folder / "config.json").write_text(json.dumps(facts))
    transformer = transformer_config(config_of("experiment=tiny_1", f"run.root={tmp_path}", "model.init_from=first"))
    assert transformer["num_layers"] == 6  # tiny_1 states it
    config = config_of("experiment=lora_tiny", f"run.root={tmp_path}", "model.init_from=first")
    transformer = transformer_config(config)
    assert transformer["num_layers"] == 7 and "of_another_version" not in transformer


def test_a_run_that_is_still_to_come_may_be_stood_in_for(tmp_path: Path) -> None:
    config = config_of("experiment=phase2_480p", f"run.root={tmp_path}")
    assert transformer_config(config)["num_layers"] == 30
    del config.model.transformer["ffn_dim"]
    with pytest.raises(InputError, match=r"phase1-480p.*finish it, or state .*ffn_dim"):
        transformer_config(config)


@pytest.mark.parametrize(("key", "hint"), [("num_layer", "did you mean num_layers"), ("zzz", "keys are patch_size")])
def test_an_unknown_key_is_refused(key: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        transformer_config(config_of("experiment=tiny_1", f"+model.transformer.{key}=1"))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"model\.codec=.*config\.json cannot be read"):
        codec_config(config_of("experiment=tiny_1", f"model.codec={tmp_path}"))
