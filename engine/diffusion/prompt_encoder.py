"""From prompts to text states: tokenizer and text model of a folder, what they cut off, and which words a narrow model does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.prior import Conditions
from engine.vocabulary import domain_note


class PromptEncoder:
    """Text states [N, L, C] of prompts, each computed once.

    known  what a narrow model was taught: {"kinds": [...], "words": [...]}; empty for a model of everything
    """

    def __init__(self, tokenizer: Any, text_encoder: Any, known: Mapping[str, Sequence[str]] | None = None) -> None:
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.known = dict(known or {})
        self.kinds = tuple(self.known.get("kinds", ()))
        self._embedded: dict[str, tuple[Tensor, tuple[str, ...]]] = {}

    def embed(self, prompts: Sequence[str]) -> Conditions:
        """Conditions with the states as data. Notes tell which words were cut and which are unknown to the model."""
        fresh = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._embedded))
        if fresh:
            for prompt, states in zip(fresh, self.text_states(fresh), strict=True):
                self._embedded[prompt] = (states[None], self._notes(prompt))
        found = [self._embedded[prompt] for prompt in prompts]
        notes = tuple(dict.fromkeys(note for _, said in found for note in said))
        return Conditions(tuple(prompts), torch.cat([states for states, _ in found]), notes)

    @torch.no_grad()
    def text_states(self, prompts: list[str]) -> Tensor:
        """[N, L, C], computed anew."""
        tokens = self.tokenizer(prompts, padding="max_length", truncation=True, max_length=self.max_tokens, return_tensors="pt")
        return self.text_encoder(tokens.input_ids.to(next(self.text_encoder.parameters()).device))[0]

    @property
    def max_tokens(self) -> int:
        """How many tokens of a prompt are read, start and end included."""
        positions = int(getattr(self.text_encoder.config, "max_position_embeddings", 77))
        return min(int(self.tokenizer.model_max_length), positions)

    def _notes(self, prompt: str) -> tuple[str, ...]:
        notes = []
        lost = cut_words(self.tokenizer, prompt, self.max_tokens)
        if lost:
            notes.append(f'The text model takes {self.max_tokens} tokens; cut from the prompt: "{lost}".')
        if self.known.get("words") and prompt:
            warning = domain_note(prompt, self.known["words"], self.kinds)
            if warning:
                notes.append(warning)
        return tuple(notes)


def cut_words(tokenizer: Any, prompt: str, limit: int) -> str:
    """The words at the end of the prompt that do not fit into `limit` tokens, two of which mark start and end; "" if all do."""

    def fits(words: list[str]) -> bool:
        return len(tokenizer(" ".join(words), add_special_tokens=False, truncation=False, verbose=False).input_ids) <= limit - 2

    words = prompt.split()
    if fits(words):
        return ""
    low, high = 0, len(words)  # words[:low] fit, words[:high] do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(words[:middle]) else (low, middle)
    return " ".join(words[low:])
