"""Which words speak of which part, and a loss that draws the places of a part to them.

Squared error alone binds looks to parts slowly: after 400,000 samples "a white house with a red roof" was still one colour. The generator
knows the part that every pixel shows, so its patch's attention is drawn to the words of that part, as by the token loss of
TokenCompose (Wang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from scripts.prior.data.captions import words_of
from scripts.prior.networks import tokenize

LEAST_SHARE = 1e-3
"""Of attention; below it the loss stays as it is."""


class SpokenParts:
    """Finds the words of parts in captions."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self._tokenizer = tokenizer
        self._last: dict[str, int] = {}

    def __call__(self, caption: str, kind: str, told: Mapping[str, str], parts: Sequence[tuple[str, str]]) -> Tensor:
        """bool [P, L]: the tokens that speak of each part.

        told   looks of the parts that the caption names
        parts  name and look of each; one that is not told is spoken of where the subject is, if that is said to look so
        """
        ids = tokenize(self._tokenizer, [caption])[0]
        spoken = torch.zeros((len(parts), len(ids)), dtype=torch.bool)
        found: dict[tuple[str, str], Tensor] = {}
        for number, (name, look) in enumerate(parts):
            if (name, look) not in found:
                found[name, look] = self._phrase(ids, look, name, last=True) if name in told else self._phrase(ids, look, kind, last=False)
            spoken[number] = found[name, look]
        return spoken

    def _phrase(self, ids: Tensor, look: str, noun: str, *, last: bool) -> Tensor:
        """The tokens of a noun and of the look nearest before it; none where either is missing."""
        places = (ids == self._token(noun)).nonzero()[:, 0]
        looks = (ids == self._token(look)).nonzero()[:, 0]
        phrase = torch.zeros(len(ids), dtype=torch.bool)
        if len(places):
            place = places[-1 if last else 0]
            before = looks[looks < place]
            if len(before):
                phrase[place] = phrase[before[-1]] = True
        return phrase

    def _token(self, words: str) -> int:
        """The last token of some words."""
        if words not in self._last:
            ids = tokenize(self._tokenizer, [words_of(words)[-1]])[0]
            self._last[words] = int(ids[(ids == self._tokenizer.eos_token_id).int().argmax() - 1])
        return self._last[words]


def attention_loss(shares: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """-log of the attention that places give to the words of their part, averaged over the places that have any; a scalar.

    shares  [B, heads, places, L] each, of square pictures of any size
    wanted  bool [B, S, S, L]
    """
    losses = []
    for share in shares:
        side = round(share.shape[2] ** 0.5)
        step = wanted.shape[1] // side
        at = wanted[:, step // 2 :: step, step // 2 :: step].flatten(1, 2)
        given = (share.float().mean(1) * at).sum(-1)
        told = at.any(-1)
        losses.append(-(given.clamp(min=LEAST_SHARE).log() * told).sum() / told.sum().clamp(min=1))
    return torch.stack(losses).mean()
