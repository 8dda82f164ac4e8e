"""The card of a model, and what it came from."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Response

from service.api.dependencies import SessionDep, require_key
from service.api.models import ModelDep
from service.api.problems import problems
from service.models import card, lineage, markdown
from service.models.knowing import known
from service.resources.lineage import Lineage

router = APIRouter(
    prefix="/v1/models/{model_id}", tags=["models"], dependencies=[Depends(require_key)], responses=problems(401, 404)
)
MARKDOWN = "text/markdown; charset=utf-8"


@router.get(
    "/card",
    response_class=Response,
    responses={200: {"description": "the card", "content": {"text/markdown": {"schema": {"type": "string"}}}}},
)
def read_card(found: ModelDep, session: SessionDep) -> Response:
    """The model card: intended use, data, metrics, noise found in the labels, limits, how to load it, files.

    Markdown with a YAML head as Hugging Face's cards have it. All but the intended use is what the service recorded.
    """
    facts = known(session, *found)
    content = markdown.document(card.title(facts), head(facts), card.sections(facts))
    headers = {"Content-Disposition": f'inline; filename="{facts.job.id}.md"', "Cache-Control": "no-store"}
    return Response(content, media_type=MARKDOWN, headers=headers)


@router.get("/lineage")
def read_lineage(found: ModelDep, session: SessionDep) -> Lineage:
    """What a model came from: job, dataset version, every option, code and packages, and the models before it."""
    return lineage.lineage(session, found[0])


def head(facts: card.Known) -> dict[str, Any]:
    """What the card says to programs."""
    metrics = facts.job.metrics or {}
    told: dict[str, Any] = {
        "library_name": "monai",
        "pipeline_tag": "image-segmentation",
        "tags": ["medical", "segmentation", *(f"{name}:{value}" for name, value in sorted(facts.model.tags.items()))],
    }
    if facts.held_out and "test_dice" in metrics:
        told["model-index"] = [
            {
                "name": card.title(facts),
                "results": [
                    {
                        "task": {"type": "image-segmentation"},
                        "dataset": {
                            "name": facts.lineage.data.name,
                            "type": facts.job.dataset_id,
                            "revision": str(facts.job.dataset_version),
                            "split": "test",
                        },
                        "metrics": [{"type": "dice", "name": "Dice", "value": metrics["test_dice"]}],
                    }
                ],
            }
        ]
    return told
