"""The training loop of the picture network, resumable at any checkpoint."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from engine.diffusion.patch_autoencoder import PatchAutoencoder
from engine.formats.files import replacing
from scripts.prior.data.captions import draw_caption
from scripts.prior.dataset import Split
from scripts.prior.networks import TRAIN_TIMESTEPS, make_scheduler, tokenize
from scripts.prior.text_model import text_features

LARGEST_WEIGHT = 6.0
CHECKPOINT_NAME = "checkpoint.pt"


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; what is stored with the weights.

    workers  threads that compute gradients side by side and apply them as they come (gradients may be a few steps old then). On a CPU
             whose cores others use too, two workers of one core each get much further than two cores in lock step.
    """

    batch: int = 32
    learning_rate: float = 8e-4
    warm_up_steps: int = 100
    final_rate_share: float = 0.03
    clean_share: float = 0.65
    caption_dropout: float = 0.12
    ema_decay: float = 0.999
    minutes: float = math.inf
    steps: int = 2**62
    seed: int = 0
    device: str = "cpu"
    bf16: bool = True
    workers: int = 1


@dataclass
class Progress:
    """Where a training stands."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=200))

    def mean_loss(self) -> float:
        """Over the latest steps."""
        return sum(self.losses) / max(1, len(self.losses))

    def share(self, settings: TrainingSettings) -> float:
        """How much of the allowed steps or time is used up, 0..1."""
        return min(1.0, max(self.step / settings.steps, self.seconds / 60 / settings.minutes))


def loss_weight(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """min(SNR + 1, 6) for clean-sample prediction; any shape."""
    signal_to_noise = alphas_cumprod / (1 - alphas_cumprod)
    return torch.clamp(signal_to_noise + 1, max=LARGEST_WEIGHT)


def learning_rate(settings: TrainingSettings, step: int, share: float) -> float:
    """Linear warm-up, then half a cosine down to the final share."""
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    decay = settings.final_rate_share + (1 - settings.final_rate_share) * cosine
    return settings.learning_rate * min(1.0, (step + 1) / settings.warm_up_steps) * decay


@torch.no_grad()
def encode_pictures(autoencoder: PatchAutoencoder, pictures: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 3, H, W] -> latents float32 [N, 2, C, h, w] of each picture and of its mirror image."""
    parts = []
    for part in pictures.split(256):
        images = part.float() / 127.5 - 1
        both = torch.stack([images, images.flip(-1)], 1)
        latents = autoencoder.encode(both.flatten(0, 1)).latent_dist.mode()
        parts.append(latents.unflatten(0, (-1, 2)))
    return torch.cat(parts)


class TextFeatures:
    """Features of captions, computed once for each wording; shared by the workers.

    capacity  captions to keep (25 kB each); later ones are computed every time.
    """

    def __init__(
        self,
        model: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        device: torch.device | str = "cpu",
        capacity: int = 60_000,
        bf16: bool = False,
    ) -> None:
        self.bf16 = bf16
        self.model = model.to(device).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.device = device
        self.capacity = capacity
        self._known: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> torch.Tensor:
        """float32 [B, 64, 192] for B captions."""
        found = {caption: self._known[caption] for caption in captions if caption in self._known}
        fresh = [caption for caption in dict.fromkeys(captions) if caption not in found]
        if fresh:
            ids = tokenize(self.tokenizer, fresh, self.device)
            with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.bf16):
                features = text_features(self.model, ids)
            found.update(zip(fresh, features.half(), strict=True))
            if len(self._known) < self.capacity:
                self._known.update((caption, found[caption].clone()) for caption in fresh)
        return torch.stack([found[caption] for caption in captions]).float()


class BatchSource:
    """Draws batches: latents, and the text features of freshly worded captions.

    clean_latents, degraded_latents  of the splits' pictures, from `encode_pictures`.
    """

    def __init__(
        self,
        clean: Split,
        degraded: Split,
        clean_latents: torch.Tensor,
        degraded_latents: torch.Tensor,
        texts: TextFeatures,
        settings: TrainingSettings,
        stream: tuple[int, ...] = (0,),
    ) -> None:
        self.parts = ((degraded, degraded_latents), (clean, clean_latents))
        self.texts = texts
        self.settings = settings
        self.rng = np.random.default_rng([settings.seed, *stream])

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents float32 [B, C, h, w], and text features float32 [B, L, D]."""
        latents: list[torch.Tensor] = []
        captions: list[str] = []
        for _ in range(self.settings.batch):
            is_clean = self.rng.random() < self.settings.clean_share
            split, encoded = self.parts[is_clean]
            row = int(self.rng.integers(len(split)))
            latents.append(encoded[row, int(self.rng.integers(2))])
            captions.append(self._caption(split, row))
        return torch.stack(latents).to(self.settings.device), self.texts(captions)

    def _caption(self, split: Split, row: int) -> str:
        """A wording of the row's caption; empty for the share that is dropped."""
        if self.rng.random() < self.settings.caption_dropout:
            return ""
        record = split.records[int(split.record_index[row])]
        return draw_caption(record, split.descriptors[row], self.rng)[0]


class Trainer:
    """Holds the picture network, its averaged copy and the optimizer.

    `lock` guards all of them; only reading weights for a gradient goes without it.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        settings: TrainingSettings,
    ) -> None:
        self.settings = settings
        self.unet = unet.to(settings.device).train()
        self.average = [p.detach().clone() for p in self.unet.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.unet.parameters(),
            settings.learning_rate,
            (0.9, 0.99),
            weight_decay=0.01,
            fused=True,
        )
        self.alphas_cumprod = make_scheduler().alphas_cumprod.to(settings.device)
        self.progress = Progress()
        self.lock = threading.Lock()

    def replica(self) -> UNet2DConditionModel:
        """The network once more, with gradients of its own; in bfloat16 a copy that `refresh` brings up to date, else the same memory."""
        twin = type(self.unet).from_config(self.unet.config)
        twin = twin.to(self.settings.device).train()
        if self.settings.bf16:
            return twin.to(torch.bfloat16, memory_format=torch.channels_last)
        for own, shared in zip(twin.parameters(), self.unet.parameters(), strict=True):
            own.data = shared.data
        return twin

    @torch.no_grad()
    def refresh(self, twin: UNet2DConditionModel) -> None:
        """Give a replica the present weights."""
        if self.settings.bf16:
            torch._foreach_copy_(list(twin.parameters()), list(self.unet.parameters()))

    def loss(
        self,
        unet: UNet2DConditionModel,
        latents: torch.Tensor,
        features: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Weighted squared error of the predicted clean latents; a scalar."""
        device = latents.device
        timesteps = torch.randint(TRAIN_TIMESTEPS, (len(latents),), generator=generator, device=device)
        kept = self.alphas_cumprod[timesteps]
        noise = torch.randn(latents.shape, generator=generator, device=device)
        signal = kept[:, None, None, None]
        noised = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        predicted = self.predict(unet, noised.to(unet.dtype), timesteps, features)
        error = (predicted.float() - self.wanted(latents, noised, timesteps, features)).square().mean((1, 2, 3))
        return (loss_weight(kept) * error).mean()

    def predict(self, unet: UNet2DConditionModel, noised: torch.Tensor, timesteps: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """What the network takes for clean latents."""
        return unet(noised, timesteps, encoder_hidden_states=features.to(noised.dtype)).sample

    def wanted(self, latents: torch.Tensor, noised: torch.Tensor, timesteps: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """What the prediction is held to: the clean latents."""
        return latents

    def apply(self, source: UNet2DConditionModel, samples: int, loss: float) -> None:
        """One optimizer step with the gradients of `source`; the caller holds the lock."""
        rate = learning_rate(self.settings, self.progress.step, self.progress.share(self.settings))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for target, given in zip(self.unet.parameters(), source.parameters(), strict=True):
            target.grad, given.grad = None if given.grad is None else given.grad.to(target.dtype), None
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        self._update_average()
        self.progress.step += 1
        self.progress.samples += samples
        self.progress.losses.append(loss)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average, quicker at the start."""
        step = self.progress.step
        decay = min(self.settings.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, list(self.unet.parameters()), 1 - decay)

    def averaged_unet(self) -> UNet2DConditionModel:
        """A copy of the network with the averaged weights, on the CPU, for use."""
        copy = type(self.unet).from_config(self.unet.config)
        with self.lock, torch.no_grad():
            for target, value in zip(copy.parameters(), self.average, strict=True):
                target.copy_(value.cpu())
        return copy.eval()

    def save(self, folder: Path) -> None:
        """Write the checkpoint and its figures; a reader sees the old one or the new one."""
        progress = self.progress
        content = {
            "unet": self.unet.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "progress": {**asdict(progress), "losses": list(progress.losses)},
        }
        with replacing(folder / CHECKPOINT_NAME) as unfinished:
            torch.save(content, unfinished)
        figures = {
            "step": progress.step,
            "samples": progress.samples,
            "seconds": round(progress.seconds, 1),
            "loss": progress.mean_loss(),
        }
        (folder / "progress.json").write_text(json.dumps(figures, indent=2), "utf-8")

    def load(self, folder: Path) -> bool:
        """Continue from the folder's checkpoint where there is one."""
        path = folder / CHECKPOINT_NAME
        if not path.exists():
            return False
        content = torch.load(path, map_location=self.settings.device, weights_only=True)
        self.unet.load_state_dict(content["unet"])
        self.average = content["average"]
        self.optimizer.load_state_dict(content["optimizer"])
        stored = content["progress"]
        losses = deque(stored.pop("losses"), maxlen=self.progress.losses.maxlen)
        self.progress = Progress(**stored, losses=losses)
        return True


class Worker(threading.Thread):
    """Draws batches, computes gradients, applies them, until told to stop."""

    def __init__(self, trainer: Trainer, source: BatchSource, number: int) -> None:
        super().__init__(name=f"training worker {number}", daemon=True)
        self.trainer = trainer
        self.source = source
        self.stop = threading.Event()
        self.error: BaseException | None = None
        settings = trainer.settings
        self.generator = torch.Generator(settings.device)
        self.generator.manual_seed(hash((settings.seed, number, trainer.progress.step)) % 2**31)

    def run(self) -> None:
        """The thread's work; an error is kept for the thread that waits."""
        try:
            if self.trainer.settings.workers > 1:
                torch.set_num_threads(1)
            self._work()
        except BaseException as error:  # handed over to run_training, which raises it
            self.error = error

    def _work(self) -> None:
        trainer = self.trainer
        unet = trainer.replica()
        while not self.stop.is_set():
            trainer.refresh(unet)
            latents, features = self.source.draw()
            loss = trainer.loss(unet, latents, features, self.generator)
            loss.backward()
            with trainer.lock:
                if trainer.progress.share(trainer.settings) >= 1:
                    return
                trainer.apply(unet, len(latents), float(loss.detach()))


def run_training(
    trainer: Trainer,
    sources: list[BatchSource],
    folder: Path,
    *,
    report: Callable[[str], None] = print,
    checkpoint_every: float = 180.0,
    grid_every: float = 480.0,
    report_every: float = 60.0,
    make_grid: Callable[[Trainer, Path], None] | None = None,
) -> Progress:
    """Train until the settings' steps or minutes are used up.

    sources                                     one for each worker.
    folder                                      takes the checkpoint, `progress.json` and the sample grids.
    checkpoint_every, grid_every, report_every  seconds of wall clock.
    make_grid                                   draws the sample grid of a trainer into the given file.
    """
    progress = trainer.progress
    workers = [Worker(trainer, source, number) for number, source in enumerate(sources)]
    saves, grids, reports = map(Ticker, (checkpoint_every, grid_every, report_every))
    samples_before, last = progress.samples, time.monotonic()
    for worker in workers:
        worker.start()
    try:
        while all(worker.is_alive() for worker in workers):  # the first that ends, ends all
            workers[0].join(0.2)
            now = time.monotonic()
            with trainer.lock:
                progress.seconds += now - last
                last = now
                if saves.due(now):
                    trainer.save(folder)
            if seconds := reports.due(now):
                report(_status_line(progress, (progress.samples - samples_before) / seconds))
                samples_before = progress.samples
            if make_grid and grids.due(now):
                make_grid(trainer, folder / f"grid-{progress.step:06d}.png")
    finally:
        _stop(workers)
    trainer.save(folder)
    if make_grid:
        make_grid(trainer, folder / f"grid-{progress.step:06d}.png")
    return progress


def _stop(workers: list[Worker]) -> None:
    """Stop and await all; raise what one of them ran into."""
    for worker in workers:
        worker.stop.set()
    for worker in workers:
        worker.join()
    for worker in workers:
        if worker.error:
            raise worker.error


def _status_line(progress: Progress, rate: float) -> str:
    """One line of the log."""
    return (
        f"step {progress.step} samples {progress.samples} loss {progress.mean_loss():.4f} "
        f"{rate:.1f} samples/s {progress.seconds / 60:.1f} min"
    )


class Ticker:
    """Says when a period has passed."""

    def __init__(self, period: float) -> None:
        self.period = period
        self.last = time.monotonic()

    def due(self, now: float) -> float:
        """Seconds since it was last due, where the period is over; else 0."""
        passed = now - self.last
        if passed < self.period:
            return 0.0
        self.last = now
        return passed
