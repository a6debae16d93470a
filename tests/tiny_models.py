"""A whole pipeline of random weights, a few kilobytes large, for tests of everything around the network."""

from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from lumosx import LumosXPipeline, LumosXTransformer3DModel

TEXT_LENGTH = 48
GENERATION = {
    "size": "32x32", "frames": 5, "fps": 8, "steps": 3, "solver": "euler", "shift": 3.0, "cfg": 2.0, "seed": 7,
    "negative_prompt": "blurry",
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
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((p, -3.0) for p in pieces), *((c, -4.0) for c in letters)]
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
