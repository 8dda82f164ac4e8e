"""`python -m tests.benchmarks.startup`: from a POST to the first training step, beside two bare Ray actors with DDP.

Both go to the same warm Ray head, in turns: our job through the service's API, the bare script through Ray's Jobs API.
Both take their first step on the same network (MONAI's UNet) with two processes; the script does nothing else.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from service.jobs.cluster import Endpoint
from service.jobs.submission import RayJobs
from tests.integration.harness import Service, wait_for

PAIRS = 4
SAMPLES, SIZE, BATCH = 32, 64, 16
UNET = {"channels": [16, 32, 64, 128], "strides": [2, 2, 2], "num_res_units": 2}


def bare(mark: str) -> None:
    """What the bare job runs: two actors, a process group, one step of DDP; then the file `mark`."""
    import ray

    @ray.remote(num_cpus=1)
    class Actor:
        def address(self) -> tuple[str, int]:
            import socket

            with socket.create_server(("", 0)) as probe:
                return ray.util.get_node_ip_address(), probe.getsockname()[1]

        def step(self, rank: int, address: tuple[str, int], mark: str) -> None:
            import torch
            import torch.distributed as dist
            from monai.networks.nets.unet import UNet
            from torch.nn.parallel import DistributedDataParallel

            torch.set_num_threads(1)
            dist.init_process_group("gloo", f"tcp://{address[0]}:{address[1]}", rank=rank, world_size=2)
            network = DistributedDataParallel(UNet(spatial_dims=2, in_channels=3, out_channels=2, **UNET))
            optimizer = torch.optim.AdamW(network.parameters())
            network(torch.rand(BATCH // 2, 3, SIZE, SIZE)).square().mean().backward()
            optimizer.step()
            if rank == 0:
                Path(mark).touch()

    ray.init()
    actors = [Actor.remote() for _ in range(2)]
    address = ray.get(actors[0].address.remote())
    ray.get([actor.step.remote(rank, address, mark) for rank, actor in enumerate(actors)])


def seconds_until(condition: Callable[[], bool]) -> float:
    """Time from now until the condition holds."""
    begun = time.perf_counter()
    while not condition():
        if time.perf_counter() - begun > 180:
            raise TimeoutError("no first step within 180 s")
        time.sleep(0.01)
    return time.perf_counter() - begun


def time_ratios() -> tuple[np.ndarray, np.ndarray]:
    """Seconds from POST to first step: our jobs', and the bare jobs' just before them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        service = Service(folder / "data", (sys.executable, "-m", "workers.main"), OMP_NUM_THREADS="1")
        for setting in ("DALE_RECONCILE_SECONDS", "DALE_NETWORK_CHECK"):  # as they are by default
            del service.environment[setting]
        service.start()
        try:
            wait_for(lambda: service.head().url)
            dataset_id = service.upload(discs())
            pairs = np.array([(_ours(service, dataset_id), _bare(service, folder / "mark")) for _ in range(PAIRS + 1)])
        finally:
            service.stop()
    return pairs[1:, 0], pairs[1:, 1]  # the first pair warms the files


def _ours(service: Service, dataset_id: str) -> float:
    begun = time.perf_counter()
    spec = {"workers": 2, "batch_size": BATCH, "image_size": SIZE, "epochs": 1}
    job_id = service.post(dataset_id, **spec)
    progress = service.folder / "objects" / "jobs" / job_id / "progress.json"
    seconds_until(progress.exists)
    took = time.perf_counter() - begun
    service.wait(job_id, "SUCCEEDED")
    _wait_until_idle(service)
    return took


def _bare(service: Service, mark: Path) -> float:
    head = service.head()
    mark.unlink(missing_ok=True)
    with RayJobs(Endpoint(head.url, head.token)) as ray:
        begun = time.perf_counter()
        environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
        line = f"exec {sys.executable} -m tests.benchmarks.startup {mark}"
        name = f"bare-{os.urandom(4).hex()}"
        ray.submit(name, line, environment)
        seconds_until(mark.exists)
        took = time.perf_counter() - begun
        wait_for(lambda: ray.run(name).status.over)
    _wait_until_idle(service)
    return took


def _wait_until_idle(service: Service) -> None:
    head = service.head()
    with RayJobs(Endpoint(head.url, head.token)) as ray:
        wait_for(lambda: (capacity := ray.capacity()) is not None and capacity.used.cpus == 0)


def discs() -> dict[str, bytes]:
    """An upload of discs."""
    import io

    from PIL import Image

    y, x = np.mgrid[:SIZE, :SIZE]
    files = {}
    for number in range(SAMPLES):
        disc = ((y - 20 - number % 20) ** 2 + (x - 30) ** 2 < 100).astype(np.uint8) * 255
        for kind, pixels in (("images", np.stack([disc] * 3, axis=-1)), ("masks", disc)):
            sink = io.BytesIO()
            Image.fromarray(pixels).save(sink, "PNG")
            files[f"{kind}/disc-{number}.png"] = sink.getvalue()
    return files


def main() -> None:
    """Print both times of each pair."""
    ours, peer = time_ratios()
    for mine, theirs in zip(ours, peer, strict=True):
        print(f"job {mine:.1f} s, two bare actors {theirs:.1f} s: {mine / theirs:.2f}")
    print(f"median {np.median(ours / peer):.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        bare(sys.argv[1])
    else:
        main()
