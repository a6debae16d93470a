"""A whole pipeline of random weights, a few kilobytes large, for tests of everything around the network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from lumosx import LumosXPipeline, LumosXTransformer3DModel, Scene

TEXT_LENGTH = 48
GENERATION = {
    "size": "32x32", "frames": 5, "fps": 8, "steps": 3, "solver": "euler", "shift": 3.0, "cfg": 2.0,
    "seed": 7, "negative_prompt": "blurry",
}  # fmt: skip
SENTENCES = [
    "Two men stand on a street. The first man wears a white jacket, the second man wears a black jacket.",
    "A woman with a red hat and round glasses holds a lamp in a snowy park at dusk.",
    "blurry, static, worst quality",
]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A Unigram tokenizer like umT5's. Its pieces are listed, not trained: training is not reproducible."""
    words = sorted({word.strip(".,") for sentence in SENTENCES for word in sentence.split()})
    pieces = [f"▁{word}" for word in words if len(word) < 6]
    letters = sorted({*"▁.,", *"".join(words)})
    vocabulary = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((p, -3.0) for p in pieces),
        *((c, -4.0) for c in letters),
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )  # fmt: skip


def tiny_pipeline(**transformer: object) -> LumosXPipeline:
    """The pipeline in eval mode; keyword arguments change the transformer's config."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    text_encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=len(tokenizer), d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )  # fmt: skip
    config = {
        "num_attention_heads": 2, "attention_head_dim": 12, "text_dim": 24, "freq_dim": 16, "ffn_dim": 32,
        "num_layers": 2, **transformer,
    }  # fmt: skip
    vae = AutoencoderKLWan(base_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1, z_dim=16)
    model = LumosXTransformer3DModel(**config)
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return LumosXPipeline(
        tokenizer, text_encoder.eval(), model.eval(), vae.eval(), scheduler,
        text_length=TEXT_LENGTH, generation=GENERATION,
    )  # fmt: skip


def save_tiny(folder: Path, **transformer: object) -> Path:
    """The same in the hub layout."""
    tiny_pipeline(**transformer).save_pretrained(folder)
    return folder


PROMPT = "The first man wears a white jacket, the second man wears a black jacket on a street."


def two_men(picture: Callable[[str], object]) -> dict[str, Any]:
    """A scene as plain data; `picture` gives the picture of a colour: an image or a path."""
    return {
        "lumosx": 1,
        "id": "two_men",
        "prompt": PROMPT,
        "subjects": [
            {
                "id": "ben", "word": "man", "occurrence": 1, "face": picture("red"), "consent": "signed 2026-01-05",
                "attributes": [{"word": "white jacket", "image": picture("ivory")}],
            },
            {
                "id": "carl", "word": "man", "occurrence": 2, "face": picture("blue"),
                "attributes": [{"word": "black jacket", "image": picture("black")}],
            },
        ],
        "background": {"word": "street", "image": picture("gray")},
    }  # fmt: skip


def in_memory(colour: str) -> Image.Image:
    """A picture of one colour, portrait, so that it is letterboxed."""
    return Image.new("RGB", (120, 150), colour)


def tiny_scene(**changes: Any) -> Scene:
    """`two_men` with pictures in memory and top-level fields changed; None removes one."""
    data = {**two_men(in_memory), **changes}
    return Scene.from_dict({key: value for key, value in data.items() if value is not None})


def write_scene(folder: Path, **changes: Any) -> Path:
    """`two_men` as a file with its pictures beside it."""

    def on_disk(colour: str) -> str:
        in_memory(colour).save(folder / f"{colour}.png")
        return f"{colour}.png"

    folder.mkdir(parents=True, exist_ok=True)
    data = {**two_men(on_disk), **changes}
    path = folder / f"{data['id']}.json"
    path.write_text(json.dumps(data))
    return path
