"""From prompts to text states: tokenizer and text model of a folder, what they cut off, and which words a narrow model does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.prior import Conditions
from engine.diffusion.text_states import longest, states_of
from engine.vocabulary import domain_note, shortened

Parts = dict[str, Any]
"""Text encoders and tokenizers by folder."""


class PromptEncoder:
    """Text states [N, L, C] of prompts, each computed once.

    parts       text encoders and tokenizers by folder; where the states depend on the denoiser, that too
    known       what a narrow model was taught: {"kinds": [...], "words": [...]}; empty for a model of everything
    reload      reads the text encoders again after `rest`, by folder; None = they stay
    zero_empty  see `states_of`
    device      where the states are wanted, wherever the encoders are; None = there
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        known: Mapping[str, Sequence[str]] | None = None,
        reload: Callable[[], Parts] | None = None,
        zero_empty: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.tokenizer = parts["tokenizer"]
        self.known = dict(known or {})
        self.kinds = tuple(self.known.get("kinds", ()))
        self.max_tokens = longest(parts["tokenizer"], parts["text_encoder"])
        self._parts: Parts = {name: ready(part) for name, part in parts.items()}
        self._reload = reload
        self._zero_empty, self._device = zero_empty, device
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
        if self._reload is not None and "text_encoder" not in self._parts:
            self._parts |= {name: ready(part) for name, part in self._reload().items()}
        return states_of(self._parts, self._zero_empty)(prompts).to(self._device)

    def rest(self) -> None:
        """Give the text models' memory back; a prompt that is not known by then reads them again. Nothing where they cannot be."""
        if self._reload is not None:
            self._parts = {name: part for name, part in self._parts.items() if not name.startswith("text_encoder")}

    def _notes(self, prompt: str) -> tuple[str, ...]:
        notes = []
        lost = cut_words(self.tokenizer, prompt, self.max_tokens)
        if lost:
            notes.append(f'The text model takes {self.max_tokens} tokens; cut from the prompt: "{shortened(lost)}".')
        if self.known.get("words") and prompt:
            warning = domain_note(prompt, self.known["words"], self.kinds)
            if warning:
                notes.append(warning)
        return tuple(notes)


def ready(part: Any) -> Any:
    """A text model in evaluation without gradients; a tokenizer as it is."""
    return part.eval().requires_grad_(False) if isinstance(part, torch.nn.Module) else part


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
