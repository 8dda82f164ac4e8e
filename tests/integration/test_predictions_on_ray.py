"""A dataset predicted by two workers on a real Ray head, one of which is killed on the way."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from service.api.dependencies import Context
from service.client import Client, PostedPrediction
from service.jobs.lifecycle import State
from tests.given_models import put_model
from tests.integration.harness import KEY, Service
from tests.served_models import exported, serve
from workers.contract import keys

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    predictor = Path(__file__).with_name("dying_predictor.py")
    folder = tmp_path / "service" / "data"
    folder.mkdir(parents=True)
    service = Service(folder, (sys.executable, str(predictor)))
    service.start()
    yield service
    service.stop()


@pytest.fixture
def settings(service: Service, settings: object) -> object:
    """The settings of the service under test, so that the model is put into its database."""
    return type(settings)(data_dir=service.folder, network_check=False)


def test_a_killed_worker_costs_no_shard_that_was_done(
    service: Service, context: Context, finish_job: Callable[..., str], disc_files: dict[str, bytes], tmp_path: Path
) -> None:
    workplace = exported(tmp_path, "images")
    model = put_model(context.store, workplace, serve(context, finish_job, workplace))
    dataset_id = service.upload(disc_files)
    with Client(str(service.http.base_url), KEY) as dale:
        posted = PostedPrediction(model=model, dataset_id=dataset_id, workers=2)
        job = dale.wait(dale.predict_dataset(posted).id)
        assert (job.state, job.attempt) == (State.SUCCEEDED, 1), (job.failure, dale.logs(job.id)[-3000:])
        dale.fetch_predictions(job.id, tmp_path / "out")
        whole = service.http.get(f"/v1/jobs/{job.id}/predictions")
        names = sorted(Path(name).stem for name in disc_files if name.startswith("images/"))
        with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
            for name in names:
                mask = (tmp_path / "out/masks" / f"{name}.png").read_bytes()
                assert archive.read(f"masks/{name}.png") == mask
                one = service.http.post(
                    f"/v1/models/{model}:predict", files={"file": ("x.png", disc_files[f"images/{name}.png"])}
                )
                assert mask == one.content
    table = pd.read_csv(tmp_path / "out/samples.csv")
    assert sorted(table["name"]) == names
    assert context.store.exists(f"{keys.job(job.id)}died")
    began = [key.rpartition("/")[2].split("-") for key in context.store.list(f"{keys.job(job.id)}began/")]
    assert {number for number, *_ in began} == {str(number) for number in range(7)}  # of two discs each
    assert [rank for number, rank, _ in began if number == "1"] == ["1"]  # what was done stays done
    assert len({pid for _, rank, pid in began if rank == "1"}) == 2
