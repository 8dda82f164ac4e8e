"""Volumes: decoded once for all who share them; patches that follow from seed, epoch and number alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from tests.ranks import leave
from tests.volumes import MASK_VALUES, PIL, nifti, other_channel, put_balls, put_volumes
from workers import cache
from workers.contract import keys, tables
from workers.contract.request import Failure, JobSpec, NetworkSpec, TrainRequest
from workers.contract.store import ObjectStore, open_store
from workers.data import Samples, SampleUnreadable
from workers.dataset import open_dataset
from workers.main import main
from workers.nifti import decode_volume, open_volume
from workers.patches import CENTRES, centres_of, place_patch
from workers.run import Run
from workers.volumes import Volumes

COUNT, SHAPE, PATCH = 7, (14, 30, 22), 16  # of the files; the first axis is shorter than a patch
CPU = torch.device("cpu")


def run_of(store: ObjectStore, rank: int = 0, world_size: int = 1) -> Run:
    spec = JobSpec(dataset_id="ds-3d", patch_size=PATCH, seed=3, workers=world_size)
    return Run(TrainRequest(job_id="job", spec=spec), 1, store, rank, world_size, CPU)


def volumes_of(store: ObjectStore, shared: bool = True) -> Volumes:
    return Volumes(store, "ds-3d", 1, PATCH, 3, run_of(store) if shared else None)


@pytest.fixture(autouse=True)
def any_disk_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "RESERVE", 0)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/store")


def lose_files(store: ObjectStore) -> None:
    for key in [*store.list("datasets/ds-3d/blobs/")]:
        store.delete(key)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("names", [["CT"], ["T1", "T2"]])
def test_volumes_are_those_of_the_files_at_every_time(store: ObjectStore, shared: bool, names: list[str]) -> None:
    arrays = put_balls(store, COUNT, SHAPE, second=len(names) == 2)
    volumes = volumes_of(store, shared)
    assert (len(volumes), volumes.classes, volumes.spatial_dims, volumes.channel_names) == (COUNT, 2, 3, names)
    for ordinal in (3, 6, 0, 6, 3):
        image, label = volumes.volume(ordinal)
        assert (image.dtype, label.dtype, tuple(image.shape)) == (torch.float16, torch.uint8, (len(names), 22, 14, 30))
        given = arrays[ordinal][0], other_channel(arrays[ordinal][0])
        for channel, values in zip(image, given, strict=False):  # each is normalised by itself
            np.testing.assert_array_equal(channel, decode_volume(open_volume(nifti(values))))
        np.testing.assert_array_equal(label, arrays[ordinal][1][::-1, ::-1, ::-1].transpose(2, 0, 1) > 0)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_patch_is_a_part_of_its_volume_padded_in_the_middle(store: ObjectStore, shared: bool, channels: int) -> None:
    put_balls(store, COUNT, SHAPE, second=channels == 2)
    volumes, kept = volumes_of(store, shared), []
    for epoch in range(30):
        images, labels = volumes.of_epoch(epoch).batch(torch.tensor([5, 2]))
        assert (images.dtype, tuple(images.shape)) == (torch.float16, (2, channels, PATCH, PATCH, PATCH))
        assert (labels.dtype, tuple(labels.shape)) == (torch.uint8, (2, PATCH, PATCH, PATCH))
        for row, ordinal in enumerate((5, 2)):
            whole, whole_label = volumes.volume(ordinal)
            centres = centres_of(whole_label.numpy(), 2)
            z, y, x = place_patch((22, 14, 30), PATCH, centres, seed=3, epoch=epoch, ordinal=ordinal)
            assert y == -1  # 14 voxels in the middle of 16
            here = (slice(z, z + PATCH), slice(None), slice(x, x + PATCH))
            np.testing.assert_array_equal(images[row, :, :, 1:15], whole[:, *here])
            np.testing.assert_array_equal(labels[row, :, 1:15], whole_label[here])
            assert not images[row, :, :, [0, 15]].any()
            assert not labels[row, :, [0, 15]].any()
            kept.append((z, x))
    assert len(set(kept)) > 20


def test_half_of_the_patches_look_at_the_foreground_and_all_stay_within() -> None:
    label = np.zeros((40, 50, 60), np.uint8)
    label[30:32, 20:22, 45:50] = 1
    label[5, 5, 5] = 2  # a rare class is looked at as often
    centres = centres_of(label, 4)
    assert centres.shape == (3, CENTRES)
    assert (centres[2] == -1).all()
    assert set(centres[0]) == set(np.flatnonzero(label == 1))
    begins = np.array(
        [place_patch(label.shape, 16, centres, seed=0, epoch=e, ordinal=i) for e in range(40) for i in range(50)]
    )
    assert begins.min() == 0
    assert (begins.max(0) == np.array(label.shape) - 16).all()
    middle = begins + 8
    on_first = ((middle >= (30, 20, 45)) & (middle < (32, 22, 50))).all(1).mean()
    on_second = (begins == 0).all(1).mean()  # at the border the middle cannot be reached
    assert on_first == pytest.approx(0.25, abs=0.03)
    assert on_second == pytest.approx(0.25, abs=0.03)
    empty = centres_of(np.zeros_like(label), 4)
    anywhere = [place_patch(label.shape, 16, empty, seed=0, epoch=0, ordinal=i) for i in range(2000)]
    np.testing.assert_allclose(np.mean(anywhere, 0), (12, 17, 22), atol=1)


def test_patches_follow_from_seed_epoch_and_number_alone() -> None:
    centres = centres_of(np.ones((40, 40, 40), np.uint8), 2)

    def place(**options: int) -> list[int]:
        given = {"seed": 3, "epoch": 2, "ordinal": 5} | options
        found: list[int] = place_patch((40, 40, 40), 16, centres, **given).tolist()
        return found

    assert place() == place()
    others = [place(seed=4), place(epoch=3), place(ordinal=6), place(ordinal=2, epoch=5)]
    assert all(other != place() for other in others)


def test_a_volume_is_decoded_once(store: ObjectStore) -> None:
    put_balls(store, COUNT, SHAPE)
    volumes = volumes_of(store)
    expected = volumes.statistics(), volumes.of_epoch(4).batch(torch.arange(COUNT))
    lose_files(store)
    again = volumes.of_epoch(4).batch(torch.arange(COUNT))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(again, expected[1], strict=True))
    assert torch.equal(volumes.statistics().prior, expected[0].prior)


def test_without_room_on_the_disk_volumes_are_decoded_anew(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put_balls(store, COUNT, SHAPE)
    expected = volumes_of(store, shared=False).of_epoch(1).batch(torch.tensor([5, 2]))
    volumes = volumes_of(store)
    volumes.volume(2)
    monkeypatch.setattr(cache, "RESERVE", 1.1)
    for _ in range(2):
        found = volumes.of_epoch(1).batch(torch.tensor([5, 2]))
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
    lose_files(store)
    volumes.volume(2)
    with pytest.raises(SampleUnreadable, match=r"'volume-5'.*no object under"):
        volumes.volume(5)


def test_statistics_count_every_voxel(store: ObjectStore) -> None:
    arrays = put_balls(store, COUNT, SHAPE)
    found = volumes_of(store, shared=False).statistics()
    share = np.mean([mask > 0 for _, mask in arrays])
    np.testing.assert_allclose(found.prior, [1 - share, share], rtol=1e-6)
    assert (found.mean.tolist(), found.std.tolist()) == ([0.0], [1.0])
    put_balls(store, COUNT, SHAPE, second=True)
    found = volumes_of(store, shared=False).statistics()
    assert (found.mean.tolist(), found.std.tolist()) == ([0.0, 0.0], [1.0, 1.0])


def test_a_table_from_before_channels_is_read_as_ever(store: ObjectStore) -> None:
    put_balls(store, COUNT, SHAPE)
    expected = volumes_of(store, shared=False).volume(3)
    key = keys.version("ds-3d", 1)
    table = tables.from_parquet(store.get(key), tables.VOLUMES).drop_columns(["channels"])
    about = {name: value for name, value in table.schema.metadata.items() if name != tables.CHANNELS}
    store.put(key, tables.to_parquet(table.replace_schema_metadata(about)))
    volumes = volumes_of(store, shared=False)
    assert (volumes.channel_names, volumes.files) == (["intensity"], 1)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(volumes.volume(3), expected, strict=True))
    assert tables.from_parquet(store.get(key), tables.VOLUMES).schema.metadata[tables.MEDIA] == tables.VOLUME


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda image, mask: (image[: len(image) // 2], mask), "end-of-stream"),
        (lambda image, mask: (image, mask[: len(mask) // 2]), "end-of-stream"),
        (lambda image, mask: (image, nifti(np.zeros((4, 5, 6), np.uint8))), "its mask"),
        (lambda image, mask: (nifti(np.zeros((4, 5, 6))), nifti(np.zeros((4, 5, 6)))), "the dataset says"),
        (lambda image, mask: (b"<html>", mask), ""),
    ],
)
def test_an_unreadable_volume_is_named(store: ObjectStore, break_it, reason: str) -> None:
    pair = nifti(np.random.default_rng(0).random(SHAPE)), nifti(np.zeros(SHAPE, np.uint8))
    put_volumes(store, [pair, break_it(*pair)], [SHAPE] * 2, MASK_VALUES)
    volumes = volumes_of(store)
    for _ in range(2):
        with pytest.raises(SampleUnreadable, match=rf"sample 'volume-1' \(number 1\) cannot be read: .*{reason}"):
            volumes.of_epoch(0).batch(torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (nifti(np.zeros((4, 5, 6), np.uint8)), "channel 1 of the image has .* its mask"),
        (nifti(np.zeros(SHAPE, np.uint8), PIL + np.eye(4)), "channel 1 of the image and its mask lie in different"),
    ],
)
def test_a_channel_that_lies_elsewhere_is_refused(store: ObjectStore, other: bytes, reason: str) -> None:
    files = nifti(np.random.default_rng(0).random(SHAPE)), other, nifti(np.zeros(SHAPE, np.uint8))
    put_volumes(store, [files], [SHAPE], MASK_VALUES, ["T1", "T2"])
    with pytest.raises(SampleUnreadable, match=reason):
        volumes_of(store).volume(0)


def test_the_table_says_what_a_dataset_holds(store: ObjectStore) -> None:
    put_balls(store, 2, SHAPE)
    spec = JobSpec(dataset_id="ds-3d", patch_size=PATCH)
    assert isinstance(open_dataset(store, spec), Volumes)
    assert open_dataset(store, spec).edge == PATCH
    flat = tables.SAMPLES.empty_table().replace_schema_metadata({tables.MASK_VALUES: "[0, 255]"})
    store.put(keys.version("ds-2d", 1), tables.to_parquet(flat))
    images = open_dataset(store, JobSpec(dataset_id="ds-2d"))
    assert isinstance(images, Samples)
    assert images.of_epoch(3) is images
    assert images.edge == 128
    with pytest.raises(ValueError, match="unexpected columns"):
        Samples(store, "ds-3d", 1, 128)


def test_a_network_too_deep_for_the_patches_is_refused_before_workers_are_taken(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_balls(store, 2, SHAPE)
    spec = JobSpec(dataset_id="ds-3d", patch_size=PATCH, network=NetworkSpec(name="BasicUNet"))
    store.put(keys.request("deep"), TrainRequest(job_id="deep", spec=spec).model_dump_json().encode())
    monkeypatch.setenv("DALE_STORE_URL", f"file://{tmp_path}/store")
    assert main(["--job", "deep"]) == 1
    failure = Failure.model_validate_json(store.get(keys.failure("deep", 1)))
    assert failure.kind == "network"
    assert "BasicUNet does not accept patches of 16 x 16 x 16 voxels" in failure.cause
    assert "patch_size" in failure.hint


def meet(rank: int, world_size: int, root: Path) -> None:
    """The statistics, which decode; then lose all files, and take a patch of every volume."""
    cache.RESERVE = 0
    dist.init_process_group("gloo", init_method=f"file://{root}/rendezvous", rank=rank, world_size=world_size)
    store = open_store(f"file://{root}/store")
    volumes = Volumes(store, "ds-3d", 1, PATCH, 3, run_of(store, rank, world_size))
    prior = volumes.statistics().prior
    dist.barrier()
    if rank == 0:
        lose_files(store)
    dist.barrier()
    torch.save((prior, *volumes.of_epoch(2).batch(torch.arange(COUNT))), root / f"{rank}.pt")
    dist.barrier()
    leave()


def test_ranks_share_what_one_has_decoded_and_see_the_same_patches(store: ObjectStore, tmp_path: Path) -> None:
    put_balls(store, COUNT, SHAPE)
    alone = volumes_of(store, shared=False)
    expected: tuple[Tensor, ...] = (alone.statistics().prior, *alone.of_epoch(2).batch(torch.arange(COUNT)))
    multiprocessing.spawn(meet, (2, tmp_path), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
