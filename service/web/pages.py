"""The review pages: sign in, see datasets and jobs, watch one, look at the labels it doubts most."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, BackgroundTasks, Cookie, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from service.actions import Action
from service.api.datasets import version_resource
from service.api.dependencies import SESSION_COOKIE, AdmissionDep, Context, ContextDep, SessionDep, remember_use
from service.api.jobs import resource
from service.api.volume_pictures import slice_place
from service.axes import Axis
from service.db import access, audit, datasets, jobs
from service.db.sample_filters import SampleFilter
from service.db.tables import Job, JobSample
from service.errors import Invalid, NotFound, TooManyRequests
from service.jobs.lifecycle import State
from service.roles import Caller, Role
from service.slices import Place
from service.web.charts import points
from service.web.job_live import live
from service.web.predictions import prediction_values
from workers.contract.prediction import PredictSpec

FOLDER = Path(__file__).parent
PER_PAGE = 24
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

router = APIRouter(include_in_schema=False)
static = StaticFiles(directory=FOLDER / "static")
templates = Jinja2Templates(directory=FOLDER / "templates")
templates.env.globals.update(points=points, quote=lambda text: quote(text, safe=""))
SessionCookie = Annotated[str | None, Cookie(alias=SESSION_COOKIE)]


def page(request: Request, name: str, values: dict[str, Any], status: int = 200) -> HTMLResponse:
    """Render a template with the headers that every page has."""
    return templates.TemplateResponse(request, name, values, status_code=status, headers=HEADERS)


def get_visitor(
    request: Request,
    context: ContextDep,
    admission: AdmissionDep,
    background: BackgroundTasks,
    dale_session: SessionCookie = None,
) -> Caller | None:
    """Whose browser this is; None: nobody's who is signed in. Raises `TooManyRequests`: the key's budget is used up."""
    if not dale_session:
        return None

    def look() -> Caller | None:
        with context.database.read() as session:
            return access.find_session(session, dale_session)

    try:
        visitor = admission.look_up(request, dale_session, look)
    except TooManyRequests:  # whoever has no good session signs in
        return None
    if visitor is not None:
        admission.count(visitor)
        remember_use(context, visitor, background)
    return visitor


VisitorDep = Annotated[Caller | None, Depends(get_visitor)]


def to_sign_in(request: Request) -> RedirectResponse:
    """Send the browser to the sign-in page, and back here after it."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(here, safe='/')}", status_code=303, headers=HEADERS)


@router.get("/login")
def show_login(request: Request, next_page: Annotated[str, Query(alias="next")] = "/") -> HTMLResponse:
    """Ask for the key. A link `/login#<key>` fills it in without showing it to any server log."""
    return page(request, "login.html", {"next": next_page, "problem": ""})


@router.post("/login")
def sign_in(
    request: Request,
    session: SessionDep,
    admission: AdmissionDep,
    key: Annotated[str, Form(max_length=500)],
    next_page: Annotated[str, Form(alias="next")] = "/",
) -> Response:
    """Exchange the key for a session cookie, which other sites cannot make the browser send."""
    shown = key.strip()
    try:
        visitor = admission.look_up(request, shown, lambda: access.find_key(session, shown))
    except TooManyRequests as error:
        answer = page(request, "login.html", {"next": next_page, "problem": error.detail}, status=error.status)
        answer.headers["Retry-After"] = str(error.retry_after)
        return answer
    if visitor is None:
        problem = (
            "This key is not valid here: it is wrong, or was revoked, or has expired. "
            "Use the one that an admin of your project gave you, or that `dale serve` printed at its first start."
        )
        return page(request, "login.html", {"next": next_page, "problem": problem}, status=401)
    audit.add(session, visitor, Action.SESSION_CREATE, visitor.key_id, visitor.project_id)
    inside = next_page if next_page.startswith("/") and not next_page.startswith(("//", "/\\")) else "/"
    response = RedirectResponse(inside, status_code=303, headers=HEADERS)
    response.set_cookie(
        SESSION_COOKIE,
        access.sign_in(session, visitor),
        max_age=int(access.SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout")
def sign_out(session: SessionDep, visitor: VisitorDep, dale_session: SessionCookie = None) -> Response:
    """End the session."""
    if visitor is not None and dale_session:
        access.sign_out(session, dale_session)
        audit.add(session, visitor, Action.SESSION_END, visitor.key_id, visitor.project_id)
    response = RedirectResponse("/login", status_code=303, headers=HEADERS)
    response.delete_cookie(SESSION_COOKIE)
    return response


@router.get("/")
def show_home(request: Request, session: SessionDep, visitor: VisitorDep) -> Response:
    """Datasets and jobs, newest first."""
    if visitor is None:
        return to_sign_in(request)
    found = datasets.page(session, visitor.project_id, 50, None)
    newest = datasets.newest_versions(session, [dataset.id for dataset in found])
    newest_shown = [(dataset, version_resource(newest[dataset.id])) for dataset in found if dataset.id in newest]
    listed = jobs.page_of_jobs(session, seen=visitor.project_id, limit=100)
    values = {
        "datasets": newest_shown,
        "jobs": [resource(job) for job in listed],
        "names": {dataset.id: dataset.name for dataset in found},
        "may_train": visitor.role.includes(Role.TRAIN),
    }
    return page(request, "home.html", values)


@router.get("/jobs/{job_id}")
def show_job(
    request: Request,
    job_id: str,
    session: SessionDep,
    visitor: VisitorDep,
    order_by: Annotated[str, Query(alias="sort")] = "score",
    contains: Annotated[str, Query(alias="name", max_length=255)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """A job live, and below it the samples whose labels it doubts most; or what it predicts."""
    if visitor is None:
        return to_sign_in(request)
    job = jobs.get_job(session, job_id)
    if job is None or not visitor.sees(job.project_id):
        return missing(request, f"There is no job {job_id}.")
    if isinstance(spec := jobs.spec_of(job), PredictSpec):
        return page(request, "prediction_job.html", prediction_values(session, job, spec, visitor))
    order_by = order_by if order_by in jobs.ORDERS else "score"
    filters = SampleFilter(name_contains=contains or None).conditions(job)
    total = jobs.count_samples(session, job, filters)
    rows = jobs.page_of_samples(
        session, job.id, order_by=order_by, descending=False, filters=filters, after=None, limit=number * PER_PAGE
    )[(number - 1) * PER_PAGE :]
    values = {
        "job": resource(job),
        "dataset": datasets.get(session, job.dataset_id, visitor.project_id),
        "version": datasets.version(session, job.dataset_id, job.dataset_version),
        "epochs": [row.metrics for row in jobs.epochs(session, job.id, after=-1, limit=2000)],
        "cards": [(row, histories(session, job, row)) for row in rows],
        "total": total,
        "sort": order_by,
        "name": contains,
        "number": number,
        "pages": max(1, -(-total // PER_PAGE)),
        "predicted": job.state == State.SUCCEEDED,
        "earlier": jobs.earlier_job(session, job) if job.state == State.SUCCEEDED else None,
    }
    return page(request, "job.html", values | live(session, job, visitor))


@router.get("/jobs/{job_id}/samples/{sample}")
def show_sample(
    request: Request,
    job_id: str,
    sample: str,
    session: SessionDep,
    context: ContextDep,
    visitor: VisitorDep,
    axis: str = Axis.AXIAL,
    number: Annotated[str, Query(alias="slice")] = "",
) -> Response:
    """One sample, large, with the history of its confidence; of a volume the slice that is asked for."""
    if visitor is None:
        return to_sign_in(request)
    job = jobs.get_job(session, job_id)
    row = jobs.find_sample(session, job_id, sample) if job and visitor.sees(job.project_id) else None
    if job is None or row is None:
        return missing(request, f"Job {job_id} has no sample {sample}.")
    values = {
        "job": resource(job),
        "row": row,
        "history": jobs.history(session, job_id, row.ordinal),
        "previous": neighbour(session, job, row, -1),
        "following": neighbour(session, job, row, +1),
        "predicted": job.state == State.SUCCEEDED,
        "total": jobs.count_samples(session, job, []),
        "axes": list(Axis),
        "at": shown_slice(context, session, job, sample, axis, number),
    }
    return page(request, "sample.html", values)


def shown_slice(context: Context, session: SessionDep, job: Job, sample: str, axis: str, number: str) -> Place | None:
    """The slice of a volume to show: the one that was asked for, if there is such a one; None of an image."""
    row = datasets.sample(session, job.dataset_id, job.dataset_version, sample)
    if row.depth is None:
        return None
    along = Axis(axis) if axis in list(Axis) else Axis.AXIAL
    asked = int(number) if number.isdecimal() and len(number) < 10 else None
    predicted = job.id if job.state == State.SUCCEEDED else None
    try:
        return slice_place(context.store, row, along, asked, predicted)
    except Invalid:
        return slice_place(context.store, row, along, None, predicted)
    except NotFound:
        return None  # the page has its numbers all the same


def histories(session: SessionDep, job: Job, row: JobSample) -> dict[str, list[float]]:
    """Confidence and score of a sample, epoch by epoch."""
    past = jobs.history(session, job.id, row.ordinal)
    return {"confidence": [point.confidence for point in past], "score": [point.score for point in past]}


def neighbour(session: SessionDep, job: Job, row: JobSample, step: int) -> str | None:
    """The name of the sample before (-1) or behind (+1) this one in the ranking."""
    found = jobs.page_of_samples(
        session,
        job.id,
        order_by="score",
        descending=step < 0,
        filters=[],
        after=(row.score, row.ordinal),
        limit=1,
    )
    return found[0].name if found else None


def forbidden(request: Request, visitor: Caller, needed: Role, what: str) -> HTMLResponse:
    """A page that says which role is needed, and which the visitor has."""
    detail = f"{what} needs a key with the role {needed}; the role of yours is {visitor.role}. An admin makes keys."
    return page(request, "missing.html", {"title": "Not for this key", "detail": detail}, status=403)


def missing(request: Request, detail: str) -> HTMLResponse:
    """A page that says that there is no such thing."""
    return page(request, "missing.html", {"detail": detail}, status=404)
