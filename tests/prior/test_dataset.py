"""Reading, splitting and degrading the pictures: the same every time."""

from __future__ import annotations

import zipfile

import pytest
import torch

from scripts.prior import dataset


def test_the_same_seed_gives_the_same_pixels(picture_folder):
    records = dataset.read_records(picture_folder)[:6]
    first = dataset.build_splits(picture_folder, records, 32, 2, seed=5)
    second = dataset.build_splits(picture_folder, records, 32, 2, seed=5)
    other = dataset.build_splits(picture_folder, records, 32, 2, seed=6)
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one.pictures, two.pictures)
        assert one.descriptors == two.descriptors
    assert not torch.equal(first[1].pictures, other[1].pictures)


def test_the_cache_answers_what_was_built(picture_folder, tmp_path):
    records = dataset.read_records(picture_folder)[:4]
    built = dataset.load_splits(picture_folder, records, 32, 2, 0, tmp_path)
    stored = dataset.load_splits(picture_folder, records, 32, 2, 0, tmp_path)
    assert len(list(tmp_path.glob("pictures-*.pt"))) == 1
    for one, two in zip(built, stored, strict=True):
        assert torch.equal(one.pictures, two.pictures)
        assert torch.equal(one.record_index, two.record_index)
        assert one.descriptors == two.descriptors


def test_splits_are_aligned(picture_folder):
    records = dataset.read_records(picture_folder)[:5]
    clean, degraded = dataset.build_splits(picture_folder, records, 32, 3, seed=0)
    assert clean.pictures.shape == degraded.pictures.shape == (15, 3, 32, 32)
    assert clean.pictures.dtype == torch.uint8
    assert clean.record_index.tolist() == [number for number in range(5) for _ in range(3)]
    assert not any(clean.descriptors)
    assert all(degraded.descriptors)


def test_kinds_are_chosen_and_unknown_ones_refused(picture_folder):
    chosen = dataset.read_records(picture_folder, ("mug",))
    assert len(chosen) == 12
    assert {record.kind for record in chosen} == {"mug"}
    with pytest.raises(ValueError, match="dragon"):
        dataset.read_records(picture_folder, ("dragon",))


def test_holding_out_depends_on_the_file_name_alone(picture_folder):
    records = dataset.read_records(picture_folder)
    held = {record.file for record in records if dataset.is_held_out(record, 0.3)}
    assert 0 < len(held) < len(records)
    assert held == {record.file for record in reversed(records) if dataset.is_held_out(record, 0.3)}


def test_an_archive_reads_like_the_files(picture_folder, tmp_path):
    records = dataset.read_records(picture_folder)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for record in records:
            archive.write(picture_folder / record.file, record.file)
    plain = [image.tobytes() for image in dataset.read_pictures(picture_folder, records)]
    packed = [image.tobytes() for image in dataset.read_pictures(tmp_path, records)]
    assert plain == packed
    assert dataset.data_hash(picture_folder, records) == dataset.data_hash(tmp_path, records)
