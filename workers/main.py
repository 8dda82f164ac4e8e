"""Entry point of a job: `python -m workers.main --job ID --attempt N`.

Reads `jobs/<id>/request.json` from the store at `DALE_STORE_URL`, trains or predicts on the Ray cluster at
`RAY_ADDRESS` and leaves the result, or why there is none, in the store. Exit status 0: the result is complete.
"""

from __future__ import annotations

import argparse
import os
import sys

import structlog
from pydantic import TypeAdapter

from workers.contract import keys, tables
from workers.contract.prediction import PredictRequest
from workers.contract.request import TrainRequest
from workers.contract.store import ObjectStore, StoreUnavailable, open_store
from workers.logging import configure_logging
from workers.patience import PatientStore

log = structlog.get_logger()
REQUEST: TypeAdapter[TrainRequest | PredictRequest] = TypeAdapter(TrainRequest | PredictRequest)


def main(argv: list[str] | None = None) -> int:
    """Run one attempt of one job."""
    parser = argparse.ArgumentParser(description="Run one attempt of a job.")
    parser.add_argument("--job", required=True, help="id of the job")
    parser.add_argument("--attempt", type=int, default=1, help="number of the attempt, from 1")
    options = parser.parse_args(argv)
    configure_logging(job_id=options.job, attempt=options.attempt)
    store_url = os.environ.get("DALE_STORE_URL")
    if not store_url:
        parser.error("DALE_STORE_URL must name the object store")
    store = PatientStore(open_store(store_url))
    if store.exists(keys.result_manifest(options.job)):
        log.info("already complete")
        return 0
    request: TrainRequest | PredictRequest = REQUEST.validate_json(store.get(keys.request(options.job)))
    log.info("starting", spec=request.spec.model_dump(mode="json"))
    try:
        if isinstance(request, TrainRequest):
            _check_network(request, store)
        from workers.trainer import run_on_ray  # noqa: PLC0415 - imports torch and ray, after the cheap checks

        run_on_ray(request, options.attempt, store_url)
        if isinstance(request, PredictRequest):
            from workers.predicting.finish import write_result  # noqa: PLC0415

            write_result(request, options.attempt, store)
    except Exception as error:
        from workers.failures import describe  # noqa: PLC0415

        failure = describe(error, request.spec)
        log.exception("failed", cause=failure.cause, hint=failure.hint)
        try:
            store.put(
                keys.failure(options.job, options.attempt), failure.model_dump_json().encode(), "application/json"
            )
        except StoreUnavailable as unavailable:
            log.error("the cause could not be written to the store", reason=str(unavailable))
        return 1
    return 0


def _check_network(request: TrainRequest, store: ObjectStore) -> None:
    """Refuse a network that cannot be trained before any worker is taken (on RGB, defaults are known to be good)."""
    schema = tables.schema_of(store.get(keys.version(request.spec.dataset_id, request.spec.dataset_version)))
    plain = len(tables.channel_names(schema)) == 3 and not tables.holds_volumes(schema)
    if plain and not request.spec.network.arguments:
        return
    from workers.dataset import open_dataset  # noqa: PLC0415 - imports torch
    from workers.network import check_network  # noqa: PLC0415

    samples = open_dataset(store, request.spec)
    check_network(
        request.spec.network,
        channels=samples.channels,
        classes=samples.classes,
        image_size=samples.edge,
        spatial_dims=samples.spatial_dims,
    )


if __name__ == "__main__":
    sys.exit(main())
