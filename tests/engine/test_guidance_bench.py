"""The laboratory's table: its statistics against known values, what it resumes, and a whole small run on a tiny model."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import make_tiny_model

from engine.errors import EXIT_BAD_INPUT, InputError
from engine.guidance.methods import METHODS, methods_for
from scripts.guidance import equal, intervals, judge
from scripts.guidance.bench import COST_METHODS, main
from scripts.guidance.captions import Item, bench_captions, read_reals, records_of
from scripts.guidance.rows import ABLATIONS, BEYOND, BUDGET, EQUAL, MAIN, PAPER, ROWS, TRAVEL
from scripts.guidance.store import Store, digest_of_model
from scripts.metrics import fid, kid
from scripts.prior.data.records import Record
from scripts.prior.dataset import is_held_out

HAS_JUDGE = importlib.util.find_spec("efficientnet_lite_pytorch") is not None


def records(count: int = 120) -> list[Record]:
    colours, kinds, views = ("red", "blue", "green"), ("mug", "tulip"), ("front", "side", "back")
    return [
        Record(
            file=f"{number:04d}.png",
            caption=f"a {colours[number % 3]} {kinds[number % 2]}",
            background=("on sand", "on a white background")[number // 7 % 2],
            view=views[number // 5 % 3],
            kind=kinds[number % 2],
        )
        for number in range(count)
    ]


@pytest.fixture()
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    few = records(60)
    for record in few:
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / record.file)
    lines = [json.dumps({"file": r.file, "caption": r.caption, "background": r.background, "view": r.view, "kind": r.kind}) for r in few]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def test_captions_are_in_no_training_record_and_repeat():
    known = records(40)
    items = bench_captions(known, 10)
    assert items == bench_captions(known, 10) and len({item.caption for item in items}) == 10
    trained = {f"a photo of {r.caption}, {r.background}, {r.view} view" for r in known if not is_held_out(r)}
    assert not trained & {item.caption for item in items}


def test_captions_end_where_there_are_no_more_combinations():
    """6 subjects, 2 backgrounds and 3 views make 36; asking for more gives those that were not trained on, once each."""
    known = records(40)
    trained = {(r.caption, r.background, r.view) for r in known if not is_held_out(r)}
    subjects, backgrounds, views = ({getattr(r, name) for r in known} for name in ("caption", "background", "view"))
    assert len(bench_captions(known, 1000)) == len(subjects) * len(backgrounds) * len(views) - len(trained)


def test_table_has_the_papers_rows_and_equal_steps():
    assert set(MAIN) == set(PAPER)
    assert not MAIN.keys() & (BEYOND | ABLATIONS).keys()
    optimizing = [row.recipe for name, row in MAIN.items() if name != "ddim"]
    assert len({(numbers.steps, numbers.rate, numbers.spread) for numbers in optimizing}) == 1


def test_store_forgets_results_of_other_settings(tmp_path):
    items = [Item(f"caption {number}", "mug") for number in range(5)]
    store = Store(tmp_path, items, "model-a", 2, 0)
    row = ROWS["sds"]
    assert store.missing("sds", row) == [0, 1, 2] and store.load("sds", row) is None
    assert store.missing("sds", row, 2) == [0] and store.missing("sds", row, 4) == [0, 1]
    store.save(store.path("sds", row, 0), np.ones((2, 4, 4, 3), np.uint8), 3.0)
    assert store.missing("sds", row) == [1, 2]
    done = store.load("sds", row)
    assert done is not None and done.pictures.shape == (2, 4, 4, 3) and done.seconds == 3.0
    assert Store(tmp_path, items, "model-b", 2, 0).missing("sds", row) == [0, 1, 2]
    assert Store(tmp_path, items, "model-a", 2, 1).missing("sds", row) == [0, 1, 2]
    assert store.missing("sds", ROWS["calibrated"]) == [0, 1, 2]


@pytest.mark.slow
def test_whole_run_and_report(tmp_path, data, capsys):
    model = make_tiny_model(tmp_path / "tiny")
    common = ["--data", str(data), "--out", str(tmp_path / "out"), "--model", str(model), "--captions", "6", "--chunk", "3"]
    assert main([*common, "run", "--rows", "ddim"]) == 0
    files = sorted((tmp_path / "out").glob("ddim-*.npz"))
    assert len(files) == 2
    times = [path.stat().st_mtime_ns for path in files]
    assert main([*common, "run", "--rows", "ddim"]) == 0
    assert [path.stat().st_mtime_ns for path in files] == times
    assert main([*common, "cost", "--rounds", "1"]) == 0
    assert json.loads((tmp_path / "out/cost.json").read_text()).keys() == set(COST_METHODS)
    assert main([*common, "examples", "--steps", "2", "--docs", str(tmp_path / "docs")]) == 0
    for name, size in (("painting.jpg", (2 * 130, 5 * 130)), ("illusion.jpg", (6 * 130, 2 * 130)), ("boards.png", (6 * 130, 4 * 130))):
        with Image.open(tmp_path / f"docs/images/guidance_{name}") as sheet:
            assert sheet.size == size
    assert "dB from its board's nearest picture" in capsys.readouterr().out
    code = main([*common, "report", "--docs", str(tmp_path / "docs")])
    if not HAS_JUDGE:
        assert code == EXIT_BAD_INPUT and "pip install --no-deps" in capsys.readouterr().err
        return
    text = (tmp_path / "docs/guidance.md").read_text()
    assert "DDIM, 20 steps" in text and "49.12" in text and (tmp_path / "docs/images/guidance_methods.jpg").is_file()
    (tmp_path / "docs/guidance.md").write_text(text + "\nA person's remark.\n")
    assert main([*common, "report", "--docs", str(tmp_path / "docs")]) == 0
    assert (tmp_path / "docs/guidance.md").read_text().endswith("A person's remark.\n")


def test_data_that_is_not_there(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "none"), "run"]) == EXIT_BAD_INPUT
    assert "captions.jsonl" in capsys.readouterr().err


DAMAGES = {
    "half": lambda path: path.write_bytes(path.read_bytes()[:-60]),
    "empty": lambda path: path.write_bytes(b""),
    "none": lambda path: path.write_bytes(b"no archive at all"),
    "flipped": lambda path: path.write_bytes(bytes(byte ^ (place == 90) for place, byte in enumerate(path.read_bytes()))),
    "another": lambda path: np.savez(path, something=np.zeros(3)),
    "fewer": lambda path: np.savez(path, pictures=np.zeros((1, 4, 4, 3), np.uint8), seconds=1.0),
    "floats": lambda path: np.savez(path, pictures=np.zeros((2, 4, 4, 3)), seconds=1.0),
    "code": lambda path: np.savez(path, pictures=np.array([{}], dtype=object), seconds=1.0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_told_and_made_anew(tmp_path, damage):
    store, row = Store(tmp_path, [Item(f"caption {number}", "mug") for number in range(4)], "model", 2, 0), ROWS["sds"]
    for number in (0, 1):
        store.save(store.path("sds", row, number), np.full((2, 4, 4, 3), 7, np.uint8), 3.0)
    path = store.path("sds", row, 1)
    DAMAGES[damage](path)
    with pytest.raises(InputError, match=path.name) as caught:
        store.load("sds", row)
    assert "run makes it anew" in caught.value.fix and store.missing("sds", row) == [1]
    store.save(path, np.full((2, 4, 4, 3), 7, np.uint8), 3.0)
    done = store.load("sds", row)
    assert done is not None and len(done.pictures) == 4 and store.missing("sds", row) == []


@pytest.mark.parametrize("name", ["cost.json", "orders.json"])
@pytest.mark.parametrize("content", ["{", "[]", "{}", "3"])
def test_measurements_that_are_damaged_are_told_before_anything_is_judged(tmp_path, data, capsys, name, content):
    (tmp_path / name).write_text(content)
    assert (
        main(["--data", str(data), "--model", "none", "--out", str(tmp_path), "report", "--docs", str(tmp_path / "docs")]) == EXIT_BAD_INPUT
    )
    assert name in capsys.readouterr().err and not list((tmp_path / "docs").iterdir())


def test_results_of_other_captions_are_told_as_such(tmp_path, data, capsys):
    row = ROWS["sds"]
    other = Store(tmp_path, [Item("a caption of old", "mug")], "model", 2, 0)
    other.save(other.path("sds", row, 0), np.zeros((1, 4, 4, 3), np.uint8), 1.0)
    common = ["--data", str(data), "--model", "none", "--out", str(tmp_path)]
    for command in ("report", "equal"):
        assert main([*common, command, "--docs", str(tmp_path / "docs")]) == EXIT_BAD_INPUT
        told = capsys.readouterr().err
        assert "nothing to report" in told and ("1 files there are of other captions" in told) == (command == "report")


@pytest.mark.parametrize(
    "words",
    [["--chunk", "0", "run"], ["--captions", "-1", "run"], ["--first", "0", "run"], ["run", "--workers", "0"], ["cost", "--rounds", "0"],
     ["examples", "--steps", "0"]],
)  # fmt: skip
def test_numbers_that_make_nothing_are_refused(data, capsys, words):
    """No workers were waited for without end."""
    with pytest.raises(SystemExit) as caught:
        main(["--data", str(data), *words])
    assert caught.value.code == EXIT_BAD_INPUT and "expected a whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--device", "abacus", "cost"], "abacus"),
        (["--seed", "-1", "cost"], "Seed must be a whole number"),
        (["--out", "{data}/captions.jsonl", "cost"], "cannot be written to"),
        (["equal", "--docs", "{data}/captions.jsonl"], "cannot be written to"),
        (["--model", "{data}/model", "cost"], "has kinds = None"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(tmp_path, data, capsys, more, told):
    (data / "model").mkdir()
    (data / "model" / "kinds.json").write_text('{"words": ["mug"]}')
    words = [word.format(data=data) for word in more]
    assert main(["--data", str(data), *([] if "--out" in words else ["--out", str(tmp_path / "out")]), *words]) == EXIT_BAD_INPUT
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", '{"file": "a.png"}', "[]", "\xff"])
def test_captions_that_cannot_be_read_are_told(tmp_path, data, capsys, content):
    (data / "captions.jsonl").write_bytes(content.encode("latin-1"))
    assert main(["--data", str(data), "--out", str(tmp_path / "out"), "cost"]) == EXIT_BAD_INPUT
    assert "captions.jsonl' cannot be used" in capsys.readouterr().err


def test_pictures_that_are_missing_are_told(data):
    records = records_of(data, ())
    (data / records[0].file).unlink()
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_reals(data, records, 16, is_held_out(records[0]))
    assert "images.zip" in caught.value.fix


def test_clip_of_the_users_own(tmp_path):
    """A CLIP model of random weights from a folder: unit features, a cosine of equal vectors, and a clear error without one."""
    import torch
    from tiny_model import make_tokenizer
    from transformers import CLIPConfig, CLIPModel

    from engine.errors import ModelError

    folder = tmp_path / "clip"
    tokenizer = make_tokenizer(folder)
    tokenizer.save_pretrained(folder)
    small = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "max_position_embeddings": 16},
        vision_config={**small, "image_size": 16, "patch_size": 8},
        projection_dim=4,
    )
    CLIPModel(config).save_pretrained(folder)
    clip = judge.ClipJudge(folder)
    rows = clip.features(np.random.default_rng(0).integers(0, 256, (3, 10, 10, 3), dtype=np.uint8))
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0) and rows.shape == (3, 4)
    assert np.abs(clip.similarities(rows, ["a", "b", "c"])).max() <= 1
    with pytest.raises(ModelError, match="CLIP"):
        judge.ClipJudge(tmp_path / "none")


def test_solvers_converge_on_an_exact_prior():
    import torch

    from engine.diffusion.empirical import EmpiricalPrior, ImageLabel
    from scripts.guidance.measure import bridge_errors

    pictures = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    prior = EmpiricalPrior(pictures, [ImageLabel("a red mug"), ImageLabel("a red mug"), ImageLabel("a blue mug")], spread=0.5)
    errors = bridge_errors(prior, ["a red mug", "a blue mug"])
    root = {solver: {steps: np.sqrt(np.mean(squares)) for steps, squares in found.items()} for solver, found in errors.items()}
    assert root["ddim"]["24"] < 0.4 * root["ddim"]["6"]
    assert root["heun"]["24"] < root["ddim"]["24"]


def test_rows_at_equal_evaluations_spend_what_they_may():
    """Each method as often as the budget pays for: one more step would be too many."""
    assert {name.removeprefix("equal_") for name in EQUAL} == {name for name in methods_for("image") if not METHODS[name].flow}
    for row in EQUAL.values():
        more = dataclasses.replace(row.recipe, steps=row.recipe.steps + 1)
        assert row.recipe.evaluations() <= BUDGET < more.evaluations()
        assert row.recipe.entry.samples or row.recipe.steps * row.recipe.rate == pytest.approx(TRAVEL)


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    """Means of 30 normal numbers: the interval holds the true mean in about 95 of 100 cases (a little less, as the bootstrap does)."""
    rng = np.random.default_rng(0)
    held = 0
    for number in range(100):
        sample = rng.standard_normal(30)
        found = intervals.bootstrap(30, lambda weights, sample=sample: float(weights @ sample / weights.sum()), seed=number)
        assert found.value == pytest.approx(sample.mean()) and found.low < found.value < found.high
        held += found.low <= 0.0 <= found.high
    assert 86 <= held <= 99


def test_weighted_kid_is_kid_and_drawing_images_twice_does_not_bias_it():
    rng = np.random.default_rng(1)
    made, real = rng.standard_normal((40, 8)) + 0.3, rng.standard_normal((60, 8))
    figure = intervals.weighted_kid(made, real)
    assert figure(np.ones(40)) == pytest.approx(kid(made, real))
    draws = [figure(np.bincount(rng.integers(0, 40, 40), minlength=40).astype(float)) for _ in range(2000)]
    assert np.mean(draws) == pytest.approx(figure(np.ones(40)), abs=0.15 * np.std(draws) + 0.01)


def test_weighted_fid_is_fid_and_its_interval_lies_about_it():
    """More images than dimensions, and fewer; a weight of 2 is the image twice."""
    rng = np.random.default_rng(2)
    real = rng.standard_normal((60, 12))
    for count in (40, 8):
        made = 1.3 * rng.standard_normal((count, 12)) + 0.3
        figure = intervals.weighted_fid(made, real)
        assert figure(np.ones(count)) == pytest.approx(fid(made, real))
        weights = rng.integers(1, 4, count).astype(float)
        assert figure(weights) == pytest.approx(fid(np.repeat(made, weights.astype(int), axis=0), real))
    plain, centred = (intervals.bootstrap(8, figure, centred=moved) for moved in (False, True))
    assert centred.low < centred.value < centred.high and plain.high - plain.low == pytest.approx(centred.high - centred.low)


def test_a_difference_from_a_row_is_drawn_in_pairs():
    """Two rows that share their captions' noise: the difference is far surer than either row; of a row from itself it is nothing."""
    rng = np.random.default_rng(3)
    real, base = rng.standard_normal((50, 6)), rng.standard_normal((40, 6))
    rows = [base, base + 0.2]
    plain = intervals.Interval(0, 0, 0)
    scores = [judge.Score(40, plain, intervals.bootstrap(40, figure), plain, plain, plain, figure)
              for figure in (intervals.weighted_kid(row, real) for row in rows)]  # fmt: skip
    more, nothing = scores[1].above(scores[0]), scores[0].above(scores[0])
    assert more.value == pytest.approx(scores[1].kernel.value - scores[0].kernel.value)
    assert more.high - more.low < 0.8 * (scores[1].kernel.high - scores[1].kernel.low)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_a_model_within_the_model_s_folder_has_a_digest_of_its_own(tmp_path):
    for name in ("unet/a.safetensors", "model_index.json", "surface/model_index.json", "surface/unet/b.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    before = digest_of_model("embedded", tmp_path)
    (tmp_path / "surface/unet/b.safetensors").write_text("taught further")
    assert digest_of_model("embedded", tmp_path) == before
    (tmp_path / "unet/a.safetensors").write_text("taught further")
    assert digest_of_model("embedded", tmp_path) != before


def test_the_table_stands_between_its_marks_and_leaves_the_rest(tmp_path):
    path = tmp_path / "guidance.md"
    path.write_text("# Before\n", encoding="utf-8")
    equal.put(path, "one")
    path.write_text(path.read_text(encoding="utf-8") + "after\n", encoding="utf-8")
    equal.put(path, "two \\1")
    content = path.read_text(encoding="utf-8")
    assert content.startswith("# Before") and content.endswith("after\n") and "two \\1" in content and "one" not in content
