"""The tiny checkpoint's tokenizer and text encoder: trained on captions alone, then frozen, as Wan's umT5 is.

A caption says things about a word that stand elsewhere in the sentence: whose cap this is, where that person stands.
The encoder learns to carry them to the word's own tokens by reading captions: for every token it tells masked words,
the owner's number in the caption and the owner's place. Binding by pictures is not in there: captions never tell a
look.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from lumosx.errors import InputError
from lumosx.files import atomic, write_json
from lumosx.playground import Truth, World
from lumosx.playground.captions import PLACES
from lumosx.playground.sampling import Wishes, sample_truth
from lumosx.scene import Scene
from lumosx.training.config import Config, TextConfig, TrainConfig
from lumosx.training.parts import already_trained, expect_no_more
from lumosx.training.run import write_facts

PAD, EOS, UNKNOWN, MASK = "<pad>", "</s>", "<unk>", "<mask>"
PAD_ID, EOS_ID, MASK_ID = 0, 1, 3  # special tokens are numbered first, in the order above
PLACE_NAMES = sorted({place for places in PLACES.values() for place in places})
BLANK = [Image.new("RGB", (112, 112), (shade, shade, shade)) for shade in range(4)]  # two people never share a face
IGNORED = -100  # cross entropy's "no target here"


@dataclass(frozen=True)
class Captions:
    """A pool of read captions, padded: everything int64 [n, text]."""

    ids: Tensor
    mask: Tensor
    owner: Tensor  # 0 nobody's, else 1 + the owner's number in the caption
    place: Tensor  # 0 not told, else 1 + its index in PLACE_NAMES


class CaptionReader(nn.Module):
    """The encoder with one linear reading head a question. Only the encoder is kept."""

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        config = UMT5Config(
            vocab_size=vocabulary,
            d_model=width,
            d_kv=16,
            d_ff=2 * width,
            num_layers=layers,
            num_heads=width // 16,
            dropout_rate=0.0,
            pad_token_id=PAD_ID,
            eos_token_id=EOS_ID,
        )
        self.encoder = UMT5EncoderModel(config)
        sizes = {"word": vocabulary, "owner": 5, "place": 1 + len(PLACE_NAMES)}
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Logits [n, text, classes] by question."""
        states = self.encoder(ids, mask).last_hidden_state
        return {name: head(states) for name, head in self.heads.items()}


def train_text_encoder(config: Config) -> Path:
    """Trains tokenizer and encoder and writes them to RUN/export (tokenizer/, text_encoder/). Returns that folder.

    Of the configuration it reads `text`, `run`, `train.steps`, `train.log_every` and `train.threads`.

    Raises:
        InputError: the export was made with another configuration, or a value is set that nothing here reads.
    """
    text = _only_text(config)
    if (config.folder / "export").is_dir():
        return already_trained(config)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    write_facts(config, torch.device("cpu"))
    torch.manual_seed(config.run.seed)
    truths = [*_truths("train", text.captions)]
    tokenizer = train_tokenizer([Scene.from_dict(_words_alone(truth)).prompt for truth in truths])
    train, held_out = (read_captions(part, tokenizer, text.length) for part in (truths, [*_truths("validation", 512)]))
    reader = CaptionReader(len(tokenizer), text.width, text.layers)
    _fit(reader, train, text, config.train)
    return _export(config.folder, tokenizer, reader, _accuracy(reader, held_out))


def _only_text(config: Config) -> TextConfig:
    if config.text is None:
        raise InputError("this configuration has no `text`: take experiment=tiny_text")
    read = {name: getattr(config.train, name) for name in ("steps", "log_every", "threads")}
    known = Config(config.run, text=config.text, train=TrainConfig(**read))
    expect_no_more(config, known, "the training of a text encoder")
    return config.text


def _fit(reader: CaptionReader, captions: Captions, text: TextConfig, length: TrainConfig) -> None:
    optimizer = torch.optim.AdamW(reader.parameters(), lr=text.lr, weight_decay=text.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=text.lr, total_steps=length.steps)
    for step in range(1, length.steps + 1):
        rows = torch.randint(len(captions.ids), (text.batch,))
        losses = _losses(reader, _rows(captions, rows))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        schedule.step()
        if step % length.log_every == 0:
            values = "  ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            print(f"step {step}/{length.steps}  {values}", flush=True)


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A small tokenizer with umT5's conventions: </s> at the end, white space as part of the piece.

    Punctuation stands alone, so that a word is the same token before a comma as elsewhere. Merged pairs rather than
    umT5's Unigram, which leaves common words in letters on so small a vocabulary; merged until every word of `texts`
    is one token, or there are 512 tokens.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation("isolated")]
    )
    tokenizer.decoder = decoders.Metaspace()
    ascii_letters = [chr(code) for code in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[PAD, EOS, UNKNOWN, MASK],
        initial_alphabet=ascii_letters,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN, mask_token=MASK
    )


def read_captions(truths: list[Truth], tokenizer: PreTrainedTokenizerFast, length: int) -> Captions:
    """Captions as tokens, and per token what is true of it."""
    ids = torch.full((len(truths), length), PAD_ID)
    owner, place = torch.full_like(ids, IGNORED), torch.full_like(ids, IGNORED)
    for row, truth in enumerate(truths):
        scene = Scene.from_dict(_words_alone(truth))
        binding = scene.bind(tokenizer, length)
        count = len(binding.token_ids)
        ids[row, :count] = torch.tensor(binding.token_ids)
        owner[row, :count] = place[row, :count] = 0
        named = [(e.subject, tokens) for e, tokens in zip(binding.references, binding.words, strict=True)]
        for subject, tokens in [*named, *enumerate(binding.subject_words or [])]:
            owner[row, tokens] = 1 + truth.told.index(subject)
            if truth.placed:
                name = PLACES[len(truth.subjects)][truth.subjects[subject].slot]
                place[row, tokens] = 1 + PLACE_NAMES.index(name)
    return Captions(ids, (ids != PAD_ID).long(), owner, place)


def _truths(split: str, count: int) -> Iterator[Truth]:
    world = World()
    yield from (sample_truth(seed, split, world.size, world.frames, Wishes()) for seed in range(count))


def _words_alone(truth: Truth) -> dict:
    """The clip's scene by its words: attributes have no picture, faces a blank one (a subject must have something)."""
    subjects = []
    for subject in truth.subjects:
        words = [
            {"word": a.word} | ({"occurrence": list(a.occurrence)} if a.occurrence else {}) for a in subject.attributes
        ]
        subjects.append({"id": subject.id, "word": subject.word, "face": BLANK[len(subjects)], "attributes": words})
    return {"lumosx": 1, "id": "caption", "prompt": truth.prompt, "subjects": subjects}


def _rows(captions: Captions, rows: Tensor) -> Captions:
    longest = int(captions.mask[rows].sum(1).max())
    parts = (captions.ids, captions.mask, captions.owner, captions.place)
    return Captions(*(part[rows, :longest] for part in parts))


def _losses(reader: CaptionReader, captions: Captions) -> dict[str, Tensor]:
    hidden = (torch.rand(captions.ids.shape) < 0.15) & captions.mask.bool()
    logits = reader(captions.ids.masked_fill(hidden, MASK_ID), captions.mask)
    targets = {
        "word": captions.ids.masked_fill(~hidden, IGNORED),
        "owner": captions.owner,
        "place": captions.place,
    }
    return {name: F.cross_entropy(logits[name].flatten(0, 1), target.flatten()) for name, target in targets.items()}


@torch.no_grad()
def _accuracy(reader: nn.Module, captions: Captions) -> dict[str, float]:
    """The share of right answers on tokens that are a subject's, on captions never seen.

    Below 1 even for a perfect reader: some captions leave open who wears what.
    """
    logits = reader.eval()(captions.ids, captions.mask)
    asked = captions.owner > 0
    return {
        name: float((logits[name].argmax(-1) == target)[asked].float().mean())
        for name, target in (("owner", captions.owner), ("place", captions.place))
    }


def _export(folder: Path, tokenizer: PreTrainedTokenizerFast, reader: CaptionReader, accuracy: dict) -> Path:
    print("held-out captions:", accuracy)
    write_json(accuracy, folder / "accuracy.json")
    with atomic(folder / "export") as beside:
        tokenizer.save_pretrained(beside / "tokenizer")
        reader.encoder.save_pretrained(beside / "text_encoder")
    return folder / "export"
