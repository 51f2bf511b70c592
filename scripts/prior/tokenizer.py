"""A CLIP tokenizer of our own: byte-level pairs learnt from the captions' words.

Every word of the vocabulary becomes one token; any other text still has tokens (its bytes).
The files are those of CLIP (`vocab.json`, `merges.txt`), read by `CLIPTokenizer`.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START = "<|startoftext|>"
END = "<|endoftext|>"
WORD_END = "</w>"
MAX_TOKENS = 64
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def _trainer_of(words: list[str]) -> Tokenizer:
    """A byte-pair model, trained until each word is one token."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END, unk_token=END))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=20_000,
        min_frequency=1,
        special_tokens=[],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    tokenizer.train_from_iterator(words, trainer)
    return tokenizer


def write_tokenizer(words: list[str], folder: Path) -> CLIPTokenizer:
    """Train on `words`, write the four files of a CLIP tokenizer, read them back."""
    model = json.loads(_trainer_of(words).to_str())["model"]
    vocabulary: dict[str, int] = dict(model["vocab"])
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(letter + WORD_END, len(vocabulary))
    for special in (START, END):
        vocabulary.setdefault(special, len(vocabulary))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    specials = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {**specials, "model_max_length": MAX_TOKENS, "tokenizer_class": "CLIPTokenizer"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), "utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2), "utf-8")
    return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
