"""Train the embedded prior, and export it as the folder that ships.

    python -m scripts.prior.train train --data FOLDER --out RUN --minutes 90
    python -m scripts.prior.train decoder --data FOLDER --out RUN --steps 5000
    python -m scripts.prior.train export --data FOLDER --out RUN --to engine/diffusion/embedded

FOLDER comes from scripts.prior.data.make. RUN takes the checkpoint; starting `train`
again with the same folder goes on from there. Runs on a CPU or on CUDA.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from engine.diffusion.patch_autoencoder import PatchAutoencoder
from scripts import ROOT
from scripts.prior import autoencoder_training, dataset, sampling, text_model, training
from scripts.prior.data.captions import vocabulary
from scripts.prior.data.records import Record
from scripts.prior.export import write_folder
from scripts.prior.networks import (
    IMAGE_SIZE,
    make_autoencoder,
    make_text_model,
    make_unet,
    parameter_count,
)
from scripts.prior.tokenizer import write_tokenizer

DEFAULT_KINDS = "tulip,daisy,rose,sunflower,mushroom,apple,mug,chair,house,tree,teapot"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train, or go on training")
    decoder = commands.add_parser("decoder", help="teach the autoencoder's decoder further")
    export = commands.add_parser("export", help="write the folder that ships")
    for command in (train, decoder, export):
        command.add_argument("--data", type=Path, required=True, help="folder of pictures")
        command.add_argument("--out", type=Path, required=True, help="folder of the run")
        command.add_argument("--kinds", default=DEFAULT_KINDS, help="names with commas, or 'all'")
        command.add_argument("--seed", type=int, default=0)
    train.add_argument("--batch", type=int, default=32)
    train.add_argument("--learning-rate", type=float, default=8e-4)
    train.add_argument("--workers", type=int, default=1, help="gradients side by side, by thread")
    train.add_argument("--minutes", type=float, default=math.inf)
    train.add_argument("--steps", type=int, default=2**62)
    train.add_argument("--text-steps", type=int, default=500, help="pretraining of the text model")
    train.add_argument("--autoencoder-steps", type=int, default=4000, help="of which a third teach the encoder too")
    train.add_argument("--float32", action="store_true", help="no bfloat16")
    train.add_argument("--grid-minutes", type=float, default=10.0)
    for command in (train, decoder):
        command.add_argument("--copies", type=int, default=6, help="crops and degradations a picture")
        command.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    decoder.add_argument("--steps", type=int, required=True)
    export.add_argument("--to", type=Path, default=ROOT / "engine" / "diffusion" / "embedded")
    parsed = parser.parse_args(arguments)
    if parsed.command == "train" and math.isinf(parsed.minutes) and parsed.steps == 2**62:
        parser.error("say when to stop: --minutes or --steps")
    return parsed


def report(line: str) -> None:
    """One line of the log, at once."""
    print(line, flush=True)


def training_records(arguments: argparse.Namespace) -> list[Record]:
    """The records to learn from: those of the wanted kinds that are not held out."""
    kinds = () if arguments.kinds == "all" else tuple(arguments.kinds.split(","))
    records = dataset.read_records(arguments.data, kinds)
    return [record for record in records if not dataset.is_held_out(record)]


def prepare_text(arguments: argparse.Namespace, records: list[Record]) -> tuple[CLIPTextModel, CLIPTokenizer]:
    """The run's text model and tokenizer, pretrained at the first call."""
    folder: Path = arguments.out / "text"
    if (folder / "model.safetensors").exists():
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        return CLIPTextModel.from_pretrained(folder, local_files_only=True), tokenizer
    torch.manual_seed(arguments.seed)
    tokenizer = write_tokenizer(vocabulary(records), folder / "tokenizer")
    model = make_text_model(tokenizer)
    report(f"text model {parameter_count(model) / 1e6:.2f} M, {len(tokenizer)} tokens")
    accuracy = text_model.pretrain(model, tokenizer, records, steps=arguments.text_steps, seed=arguments.seed, report=report)
    report(f"text model reads {accuracy:.1%} of captions right")
    model.save_pretrained(folder)
    return model, tokenizer


def prepare_autoencoder(arguments: argparse.Namespace, pictures: torch.Tensor) -> PatchAutoencoder:
    """The run's autoencoder, trained at the first call on uint8 pictures [N, 3, 64, 64]."""
    folder: Path = arguments.out / "vae"
    if (folder / "diffusion_pytorch_model.safetensors").exists():
        return PatchAutoencoder.from_pretrained(folder, local_files_only=True)
    torch.manual_seed(arguments.seed)
    model = make_autoencoder().to(arguments.device)
    psnr = autoencoder_training.train(model, pictures, steps=arguments.autoencoder_steps, seed=arguments.seed, report=report)
    report(f"autoencoder {parameter_count(model) / 1e6:.2f} M, {psnr:.1f} dB")
    model.save_pretrained(folder)
    return model.cpu()


def train_decoder(arguments: argparse.Namespace) -> None:
    """The command `decoder`: clean pictures twice as often as degraded ones."""
    folder: Path = arguments.out / "vae"
    if not (folder / "diffusion_pytorch_model.safetensors").exists():
        raise SystemExit(f"no autoencoder in {arguments.out}; run the command 'train' first")
    records = training_records(arguments)
    clean, degraded = dataset.load_splits(arguments.data, records, IMAGE_SIZE, arguments.copies, arguments.seed, arguments.out)
    pictures = torch.cat([clean.pictures, clean.pictures, degraded.pictures])
    model = PatchAutoencoder.from_pretrained(folder, local_files_only=True)
    model.to(arguments.device, memory_format=torch.channels_last)
    psnr = autoencoder_training.train_decoder(model, pictures, steps=arguments.steps, seed=arguments.seed + 2, report=report)
    report(f"autoencoder {psnr:.1f} dB")
    model.save_pretrained(folder)


def training_settings(arguments: argparse.Namespace) -> training.TrainingSettings:
    """From the command line."""
    return training.TrainingSettings(
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
        minutes=arguments.minutes,
        steps=arguments.steps,
        seed=arguments.seed,
        device=arguments.device,
        bf16=not arguments.float32,
        workers=arguments.workers,
    )


def train(arguments: argparse.Namespace) -> None:
    """The command `train`."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    records = training_records(arguments)
    clean, degraded = dataset.load_splits(arguments.data, records, IMAGE_SIZE, arguments.copies, arguments.seed, arguments.out)
    report(f"{len(records)} pictures, {len(clean)} clean and {len(degraded)} degraded copies")
    autoencoder = prepare_autoencoder(arguments, torch.cat([clean.pictures, degraded.pictures]))
    text, tokenizer = prepare_text(arguments, records)
    settings = training_settings(arguments)
    torch.manual_seed(arguments.seed)
    trainer = training.Trainer(make_unet(), settings)
    report(f"picture network {parameter_count(trainer.unet) / 1e6:.1f} M")
    if trainer.load(arguments.out):
        report(f"going on from step {trainer.progress.step}")
    (arguments.out / "settings.json").write_text(json.dumps(asdict(settings), indent=2), "utf-8")
    texts = training.TextFeatures(text, tokenizer, arguments.device)
    latents = [training.encode_pictures(autoencoder, split.pictures) for split in (clean, degraded)]
    sources = [
        training.BatchSource(clean, degraded, *latents, texts, settings, (trainer.progress.step, worker))
        for worker in range(settings.workers)
    ]

    def make_grid(current: training.Trainer, path: Path) -> None:
        unet = current.averaged_unet().to(arguments.device)
        models = sampling.models_for_training(unet, autoencoder.to(arguments.device), text, tokenizer)
        sampling.training_grid(models, path)
        report(f"samples in {path.name}")

    training.run_training(
        trainer,
        sources,
        arguments.out,
        report=report,
        grid_every=arguments.grid_minutes * 60,
        make_grid=make_grid,
    )


def export(arguments: argparse.Namespace) -> None:
    """The command `export`: the averaged weights of the run's checkpoint."""
    text_folder: Path = arguments.out / "text"
    if not (text_folder / "model.safetensors").exists():
        raise SystemExit(f"no run in {arguments.out}; run the command 'train' first")
    text = CLIPTextModel.from_pretrained(text_folder, local_files_only=True)
    torch.manual_seed(arguments.seed)
    trainer = training.Trainer(make_unet(), training.TrainingSettings())
    if not trainer.load(arguments.out):
        report("no checkpoint yet: exporting untrained weights")
    records = training_records(arguments)
    unet = trainer.averaged_unet()
    autoencoder = PatchAutoencoder.from_pretrained(arguments.out / "vae", local_files_only=True)
    write_folder(arguments.to, unet, autoencoder, text, text_folder / "tokenizer", records)
    size = sum(path.stat().st_size for path in arguments.to.rglob("*") if path.is_file())
    report(
        f"step {trainer.progress.step}, {trainer.progress.samples} samples -> {arguments.to}, "
        f"{size / 1e6:.1f} MB; data {dataset.data_hash(arguments.data, records)}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parsed = parse_arguments(arguments)
    {"train": train, "decoder": train_decoder, "export": export}[parsed.command](parsed)


if __name__ == "__main__":
    main()
