"""Samples from a store: decoded once for all who share them, and their statistics on any number of ranks."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor, multiprocessing

from tests.ranks import leave
from tests.volumes import put_balls
from workers import cache
from workers.cache import equal_slots, open_shared
from workers.contract import keys, tables
from workers.contract.request import JobSpec, TrainRequest
from workers.contract.store import ObjectStore, open_store
from workers.data import Samples, SampleUnreadable, statistics_of
from workers.run import Run
from workers.volumes import Volumes

COUNT, SIZE = 11, 24
CPU = torch.device("cpu")


def put_dataset(store: ObjectStore) -> tuple[np.ndarray, np.ndarray]:
    """Noise of the very size that is trained on; returns images (N, 3, S, S) and class indices (N, S, S)."""
    rng, rows = np.random.default_rng(0), []
    images = rng.integers(0, 200, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)
    labels = rng.integers(0, 2, (COUNT, SIZE, SIZE), dtype=np.uint8)
    for ordinal in range(COUNT):
        blobs = f"{ordinal:063}0", f"{ordinal:063}1"
        for name, array in zip(blobs, (images[ordinal], labels[ordinal] * np.uint8(7)), strict=True):
            sink = io.BytesIO()
            Image.fromarray(array).save(sink, "PNG")
            store.put(keys.blob("ds-1", name), sink.getvalue())
        rows.append((ordinal, f"noise-{ordinal}", *blobs, SIZE, SIZE, 0.5))
    table = pa.Table.from_pylist(
        [dict(zip(tables.SAMPLES.names, row, strict=False)) for row in rows], schema=tables.SAMPLES
    )
    table = table.replace_schema_metadata({tables.MASK_VALUES: json.dumps([0, 7])})
    store.put(keys.version("ds-1", 1), tables.to_parquet(table))
    return images.transpose(0, 3, 1, 2), labels


def put_grey(store: ObjectStore) -> tuple[np.ndarray, np.ndarray]:
    """The same with red, and what is 255 - green, as two grey files; returns images (N, 2, S, S) and labels."""
    images, labels = put_dataset(store)
    channels = np.stack([images[:, 0], 255 - images[:, 1]], axis=1)
    for ordinal, image in enumerate(channels):
        for name, array in zip((f"{ordinal:063}0", f"{ordinal:063}2"), image, strict=True):
            sink = io.BytesIO()
            Image.fromarray(array).save(sink, "PNG")
            store.put(keys.blob("ds-1", name), sink.getvalue())
    table = tables.from_parquet(store.get(keys.version("ds-1", 1)), tables.SAMPLES)
    column = pa.array([[f"{ordinal:063}2"] for ordinal in range(COUNT)], tables.SAMPLES.field("channels").type)
    table = table.set_column(table.column_names.index("channels"), "channels", column)
    about = {tables.MASK_VALUES: json.dumps([0, 7]), tables.CHANNELS: json.dumps(["near", "far"])}
    store.put(keys.version("ds-1", 1), tables.to_parquet(table.replace_schema_metadata(about)))
    return channels, labels


def run_of(store: ObjectStore, rank: int = 0, world_size: int = 1) -> Run:
    spec = JobSpec(dataset_id="ds-1", image_size=SIZE, workers=world_size)
    return Run(TrainRequest(job_id="job", spec=spec), 1, store, rank, world_size, CPU)


@pytest.fixture(autouse=True)
def any_disk_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "RESERVE", 0)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/store")


@pytest.mark.parametrize("shared", [False, True])
def test_pixels_are_those_of_the_files_at_every_time(store: ObjectStore, shared: bool) -> None:
    images, labels = put_dataset(store)
    samples = Samples(store, "ds-1", 1, SIZE, run_of(store) if shared else None)
    assert (len(samples), samples.classes) == (COUNT, 2)
    for ordinals in (torch.tensor([3, 10, 0]), torch.tensor([10, 3, 4]), torch.arange(COUNT), torch.arange(0)):
        found = samples.batch(ordinals)
        assert [tensor.dtype for tensor in found] == [torch.uint8, torch.uint8]
        np.testing.assert_array_equal(found[0], images[ordinals])
        np.testing.assert_array_equal(found[1], labels[ordinals])


def test_a_sample_is_decoded_once(store: ObjectStore) -> None:
    images, _ = put_dataset(store)
    samples = Samples(store, "ds-1", 1, SIZE, run_of(store))
    samples.batch(torch.arange(5))
    for ordinal in range(5):
        store.delete(keys.blob("ds-1", f"{ordinal:063}0"))
    np.testing.assert_array_equal(samples.batch(torch.tensor([4, 1]))[0], images[[4, 1]])


def test_without_room_on_the_disk_samples_are_decoded_anew(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = put_dataset(store)
    samples = Samples(store, "ds-1", 1, SIZE, run_of(store))
    samples.batch(torch.tensor([2]))
    monkeypatch.setattr(cache, "RESERVE", 1.1)
    for _ in range(2):
        np.testing.assert_array_equal(samples.batch(torch.tensor([5, 2]))[0], images[[5, 2]])
    store.put(keys.blob("ds-1", f"{5:063}0"), b"not an image any more")
    with pytest.raises(SampleUnreadable, match=r"sample 'noise-5' \(number 5\) cannot be read"):
        samples.batch(torch.tensor([2, 5]))
    store.delete(keys.blob("ds-1", f"{5:063}0"))
    with pytest.raises(SampleUnreadable, match=r"sample 'noise-5' \(number 5\) cannot be read: no object under"):
        samples.batch(torch.tensor([2, 5]))


def test_an_unreadable_sample_is_named_and_never_kept(store: ObjectStore) -> None:
    images, labels = put_dataset(store)
    key = keys.blob("ds-1", f"{3:063}1")
    good = store.get(key)
    sink = io.BytesIO()
    Image.fromarray(labels[3] * np.uint8(9)).save(sink, "PNG")
    store.put(key, sink.getvalue())
    samples = Samples(store, "ds-1", 1, SIZE, run_of(store))
    for _ in range(2):
        with pytest.raises(SampleUnreadable, match=r"'noise-3' \(number 3\).*mask values \[9\] stand for no class"):
            samples.batch(torch.tensor([1, 3]))
    store.put(key, good)
    np.testing.assert_array_equal(samples.batch(torch.tensor([3]))[0], images[[3]])
    np.testing.assert_array_equal(samples.batch(torch.tensor([3]))[1], labels[[3]])


def meet(rank: int, world_size: int, root: Path) -> None:
    """The statistics; then decode every W-th sample, lose all files, and take every sample."""
    cache.RESERVE = 0
    dist.init_process_group(
        "gloo", init_method=f"file://{root}/rendezvous-{world_size}", rank=rank, world_size=world_size
    )
    store = open_store(f"file://{root}/store-{world_size}")
    if rank == 0:
        put_dataset(store)
    dist.barrier()
    samples = Samples(store, "ds-1", 1, SIZE, run_of(store, rank, world_size))
    statistics = samples.statistics()
    samples.batch(torch.arange(rank, COUNT, world_size))
    dist.barrier()
    if rank == 0:
        for key in [*store.list("datasets/ds-1/blobs/")]:
            store.delete(key)
    dist.barrier()
    torch.save((*samples.batch(torch.arange(COUNT)), vars(statistics)), root / f"{world_size}-{rank}.pt")
    dist.barrier()
    leave()


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_what_one_has_decoded_and_agree_on_the_statistics(world_size: int, tmp_path: Path) -> None:
    multiprocessing.spawn(meet, (world_size, tmp_path), nprocs=world_size)
    alone = open_store(f"file://{tmp_path}/store")
    images, labels = put_dataset(alone)
    expected = vars(Samples(alone, "ds-1", 1, SIZE).statistics())
    for rank in range(world_size):
        seen_images, seen_labels, statistics = torch.load(tmp_path / f"{world_size}-{rank}.pt", weights_only=True)
        np.testing.assert_array_equal(seen_images, images)
        np.testing.assert_array_equal(seen_labels, labels)
        for name, value in statistics.items():
            assert torch.equal(value, expected[name]), name


def test_statistics_are_numpys(store: ObjectStore) -> None:
    images, labels = put_dataset(store)
    found = Samples(store, "ds-1", 1, SIZE).statistics()
    np.testing.assert_allclose(found.mean, (images / 255).mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(found.std, (images / 255).std((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(found.prior, np.bincount(labels.ravel()) / labels.size, rtol=1e-6)


def test_a_rank_decodes_its_share_of_the_statistics_only() -> None:
    class Spy:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
            self.asked += ordinals.tolist()
            return torch.zeros(len(ordinals), 3, 2, 2, dtype=torch.uint8), torch.zeros(len(ordinals), 2, 2).byte()

    spies = [Spy() for _ in range(3)]
    for rank, spy in enumerate(spies):
        statistics_of(spy, 100_000, 2, rank, 3)
    asked = sorted(ordinal for spy in spies for ordinal in spy.asked)
    assert len(set(asked)) == len(asked) == 256
    assert (asked[0], asked[-1]) == (0, 99_999)
    assert max(len(spy.asked) for spy in spies) == 86


def test_a_crash_between_pixels_and_flag_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> int:
        raise KeyboardInterrupt

    kept = open_shared(equal_slots(COUNT, 4 * SIZE**2))
    assert kept is not None
    image, label = torch.full((3, SIZE, SIZE), 9, dtype=torch.uint8), torch.ones(SIZE, SIZE, dtype=torch.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "pwrite", crash)  # writes the flag
        with pytest.raises(KeyboardInterrupt):
            kept.write(4, image, label)
    found = torch.empty_like(image), torch.empty_like(label)
    assert not kept.read(4, *found)
    kept.write(4, image, label)
    assert kept.read(4, *found)
    assert torch.equal(found[0], image)
    assert torch.equal(found[1], label)
    assert not kept.read(3, *found)
    assert not kept.read(5, *found)


@pytest.mark.parametrize("shared", [False, True])
def test_grey_files_are_channels_of_one_image(store: ObjectStore, shared: bool) -> None:
    expected, labels = put_grey(store)
    samples = Samples(store, "ds-1", 1, SIZE, run_of(store) if shared else None)
    assert (samples.channels, samples.channel_names, samples.files) == (2, ["near", "far"], 2)
    for _ in range(2):
        images, found = samples.batch(torch.arange(COUNT))
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(found, labels)
    statistics = samples.statistics()
    np.testing.assert_allclose(statistics.mean, expected.mean((0, 2, 3)) / 255, rtol=1e-5)
    np.testing.assert_allclose(statistics.std, expected.std((0, 2, 3)) / 255, rtol=1e-5)


def test_an_image_of_one_file_is_rgb(store: ObjectStore) -> None:
    put_dataset(store)
    samples = Samples(store, "ds-1", 1, SIZE)
    assert (samples.channel_names, samples.files) == (["red", "green", "blue"], 1)


def hold_out(store: ObjectStore, dataset_id: str, schema: pa.Schema, count: int, validated: int = 0) -> None:
    """Hold the last samples of version 1 out; those before them are for validation."""
    table = tables.from_parquet(store.get(keys.version(dataset_id, 1)), schema)
    trained = len(table) - count - validated
    split = pa.array([None] * trained + [tables.VALIDATION] * validated + [tables.TEST] * count, pa.string())
    held = table.set_column(table.schema.get_field_index("split"), schema.field("split"), split)
    store.put(keys.version(dataset_id, 1), tables.to_parquet(held.replace_schema_metadata(table.schema.metadata)))


def test_held_out_images_count_for_nothing_and_can_be_read(store: ObjectStore) -> None:
    images, labels = put_dataset(store)
    before = statistics_of(Samples(store, "ds-1", 1, SIZE), COUNT - 3, 2)
    hold_out(store, "ds-1", tables.SAMPLES, 2, 1)
    samples = Samples(store, "ds-1", 1, SIZE, run_of(store))
    assert (len(samples), samples.held_out) == (COUNT - 3, range(COUNT - 2, COUNT))
    assert samples.validation == range(COUNT - 3, COUNT - 2)
    assert torch.equal(samples.statistics().mean, before.mean)
    for _ in range(2):  # decoded, then from what was kept
        wanted = [COUNT - 1, 0, COUNT - 3]
        found = samples.batch(torch.tensor(wanted))
        np.testing.assert_array_equal(found[0], images[wanted])
        np.testing.assert_array_equal(found[1], labels[wanted])
    np.testing.assert_array_equal(samples.label(COUNT - 1), labels[COUNT - 1])


def test_held_out_volumes_count_for_nothing_and_can_be_read(store: ObjectStore) -> None:
    put_balls(store, 5, (16, 20, 18))
    alone = Volumes(store, "ds-3d", 1, 16)
    images = [alone.volume(ordinal) for ordinal in range(5)]
    hold_out(store, "ds-3d", tables.VOLUMES, 1, 1)
    spec = JobSpec(dataset_id="ds-3d", patch_size=16)
    run = Run(TrainRequest(job_id="job", spec=spec), 1, store, 0, 1, CPU)
    volumes = Volumes(store, "ds-3d", 1, 16, run=run)
    assert (len(volumes), volumes.validation, volumes.held_out) == (3, range(3, 4), range(4, 5))
    counted = torch.stack([torch.bincount(label.flatten(), minlength=2) for _, label in images[:3]]).sum(0).double()
    torch.testing.assert_close(volumes.statistics().prior, (counted / counted.sum()).float())
    for ordinal in (4, 0, 3, 4, 3):
        assert all(map(torch.equal, volumes.volume(ordinal), images[ordinal]))


def test_samples_that_are_held_out_come_last(store: ObjectStore) -> None:
    put_dataset(store)
    hold_out(store, "ds-1", tables.SAMPLES, 1)
    table = tables.from_parquet(store.get(keys.version("ds-1", 1)), tables.SAMPLES)
    data = tables.to_parquet(table.take(list(range(COUNT))[::-1]).replace_schema_metadata(table.schema.metadata))
    store.put(keys.version("ds-1", 1), data)
    with pytest.raises(ValueError, match="sample 1 is of split train, and comes after one of test"):
        Samples(store, "ds-1", 1, SIZE)


@pytest.mark.parametrize("schema", [tables.SAMPLES, tables.VOLUMES])
def test_a_table_from_before_the_facts_is_read_with_nulls(schema: pa.Schema) -> None:
    facts = [field.name for field in tables.FACTS]
    old = pa.schema([field for field in schema if field.name not in facts]).empty_table()
    found = tables.from_parquet(tables.to_parquet(old), schema)
    assert found.schema.equals(schema)
    assert tables.split_counts(found) == (0, 0, 0)
    with pytest.raises(ValueError, match="unexpected columns"):
        tables.from_parquet(tables.to_parquet(old.drop_columns(["name"])), schema)
