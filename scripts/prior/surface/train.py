"""Train the prior that sees the surface.

    python -m scripts.prior.surface.train --data FOLDER [FOLDER ...] --out RUN --minutes 90

FOLDER comes from scripts.prior.data.make_pairs and scripts.prior.data.make_buffers; what is added to it meanwhile is taken in. RUN takes
the checkpoint; starting it again goes on from there.
"""

from __future__ import annotations

import argparse
import json
import threading
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from engine.diffusion.diffusers_prior import fast_dtype
from engine.diffusion.surface_unet import SurfaceUNet
from scripts.prior import training
from scripts.prior.data.kinds import KINDS
from scripts.prior.networks import make_text_model, parameter_count
from scripts.prior.surface import dataset, wording
from scripts.prior.surface.teacher import Teacher
from scripts.prior.surface.training import SurfaceTrainer, training_sheet
from scripts.prior.tokenizer import write_tokenizer

REFRESH_SECONDS = 240
DESCRIPTIONS = 24
TEXT_WIDTH, TEXT_LAYERS = 128, 2


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="in all, over every start")
    parser.add_argument("--kinds", default=",".join(KINDS), help="names with commas")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=4e-4)
    parser.add_argument("--workers", type=int, default=2, help="gradients side by side, by thread")
    parser.add_argument("--text-steps", type=int, default=6000, help="pretraining of the text model")
    parser.add_argument("--init", type=Path, help="an exported prior whose weights the run begins with")
    parser.add_argument("--teacher", type=Path, help="an exported prior that teaches what it knows")
    parser.add_argument("--sheet-minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def report(line: str) -> None:
    """One line of the log, at once."""
    print(line, flush=True)


def prepare_text(arguments: argparse.Namespace) -> tuple[CLIPTextModel, CLIPTokenizer]:
    """The run's text model and tokenizer, pretrained at the first call."""
    folder: Path = arguments.out / "text"
    if (folder / "model.safetensors").exists():
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        return CLIPTextModel.from_pretrained(folder, local_files_only=True), tokenizer
    torch.manual_seed(arguments.seed)
    descriptions = wording.made_up(tuple(arguments.kinds.split(",")), DESCRIPTIONS, arguments.seed)
    backgrounds = sorted({entry for entry, _ in dataset.PLAIN} | set(dataset.RENDERED_BACKGROUNDS))
    words = wording.all_words(wording.as_records(descriptions, backgrounds), descriptions)
    tokenizer = write_tokenizer(words, folder / "tokenizer")
    model = make_text_model(tokenizer, TEXT_WIDTH, TEXT_LAYERS)
    if arguments.init:
        take_text(model, tokenizer, arguments.init)
    report(f"text model {parameter_count(model) / 1e6:.2f} M, {len(tokenizer)} tokens, {len(words)} words")
    bf16 = fast_dtype(torch.device("cpu")) != torch.float32
    whole, pooled, words_right = wording.pretrain(
        model, tokenizer, descriptions, backgrounds, steps=arguments.text_steps, seed=arguments.seed, bf16=bf16, report=report
    )
    report(f"text model reads {whole:.1%} of captions right, {pooled:.1%} of parts from all words and {words_right:.1%} from their own")
    model.save_pretrained(folder)
    (folder / "words.json").write_text(json.dumps(words), "utf-8")
    return model, tokenizer


@torch.no_grad()
def take_text(model: CLIPTextModel, tokenizer: CLIPTokenizer, prior: Path) -> None:
    """Begin a text model with an exported prior's: all its layers, and of its words those that both know."""
    before = CLIPTextModel.from_pretrained(prior / "text_encoder", local_files_only=True, dtype=torch.float32)
    known = CLIPTokenizer.from_pretrained(prior / "tokenizer", local_files_only=True).get_vocab()
    embedding = model.get_input_embeddings().weight.clone()
    for token, row in tokenizer.get_vocab().items():
        if token in known:
            embedding[row] = before.get_input_embeddings().weight[known[token]]  # pyright: ignore[reportIndexIssue]
    layers = {name: value for name, value in before.state_dict().items() if "token_embedding" not in name}
    model.load_state_dict(layers, strict=False)
    model.get_input_embeddings().weight.copy_(embedding)


def keep_fresh(views: list[dataset.View], folders: list[Path], kinds: frozenset[str], stop: threading.Event) -> None:
    """Take in what is added to the folders, now and then, until told to stop."""
    while not stop.wait(REFRESH_SECONDS):
        added = dataset.load_views(folders, {view.pair.subject for view in views}, kinds=kinds)
        if added:
            views += added
            report(f"{len(views)} views")


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parsed = parse_arguments(arguments)
    parsed.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    kinds = frozenset(parsed.kinds.split(","))
    views = dataset.load_views(parsed.data, kinds=kinds)
    judged = dataset.load_views(parsed.data, kinds=kinds, held_out=True)
    report(f"{len(views)} views of {len({view.pair.subject for view in views})} subjects, {len(judged)} held out")
    text, tokenizer = prepare_text(parsed)
    settings = training.TrainingSettings(
        batch=parsed.batch,
        learning_rate=parsed.learning_rate,
        minutes=parsed.minutes,
        seed=parsed.seed,
        device=parsed.device,
        bf16=fast_dtype(torch.device(parsed.device)) != torch.float32,
        workers=parsed.workers,
        ema_decay=0.998,
    )
    torch.manual_seed(parsed.seed)
    unet = SurfaceUNet(text_width=TEXT_WIDTH, fine_words=True)
    if parsed.init:
        before = SurfaceUNet.from_pretrained(parsed.init / "unet", local_files_only=True, torch_dtype=torch.float32)
        unet.load_state_dict(before.state_dict(), strict=False)  # what it has not begins silent
    trainer = SurfaceTrainer(unet.to(memory_format=torch.channels_last), settings)
    if parsed.teacher:
        trainer.teacher = Teacher.from_folder(parsed.teacher, parsed.device, settings.bf16)
    report(f"picture network {parameter_count(trainer.unet) / 1e6:.1f} M, {'bfloat16' if settings.bf16 else 'float32'}")
    if trainer.load(parsed.out):
        report(f"going on from step {trainer.progress.step}")
    (parsed.out / "settings.json").write_text(json.dumps(asdict(settings), indent=2), "utf-8")
    texts = training.TextFeatures(text, tokenizer, parsed.device, bf16=settings.bf16)
    sources = [dataset.SurfaceSource(views, texts, settings, (trainer.progress.step, worker)) for worker in range(settings.workers)]
    stop = threading.Event()
    refresh = threading.Thread(target=keep_fresh, args=(views, parsed.data, kinds, stop), daemon=True)
    refresh.start()

    def make_grid(current: training.Trainer, path: Path) -> None:
        unet = current.averaged_unet().to(memory_format=torch.channels_last)
        training_sheet(unet, texts, dataset.load_views(parsed.data, kinds=kinds, held_out=True), path, settings.bf16)
        report(f"samples in {path.name}")

    training.run_training(trainer, sources, parsed.out, report=report, grid_every=parsed.sheet_minutes * 60, make_grid=make_grid)
    stop.set()


if __name__ == "__main__":
    main()
