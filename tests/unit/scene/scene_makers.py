"""Makers that the scene tests share: pictures that all differ, and a small tokenizer of umT5's kind."""

from collections.abc import Callable
from itertools import count
from typing import Any

from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from lumosx.scene import Message

_shade = count()

Check = Callable[..., list[Message]]


def make_picture(width: int = 200, height: int = 200) -> Image.Image:
    """A picture unlike all others of this run."""
    number = next(_shade)
    return Image.new("RGB", (width, height), (number % 256, number // 256 % 256, 77))


def make_tokenizer() -> Any:
    """A Unigram tokenizer with Metaspace, as umT5's: words whole where known, else letters; EOS appended."""
    letters = [chr(code) for code in range(33, 127)] + list("▁äöüéß一个男人女红外套和")
    words = ["▁man", "▁red", "▁coat", "▁word", "▁young", "▁the", "▁a", "man", "▁wo", "男人"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    vocabulary += [(word, -3.0) for word in words] + [(letter, -10.0) for letter in letters]
    inner = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
