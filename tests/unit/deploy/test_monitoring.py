"""What is drawn and alerted on is what a service tells. Prometheus' own checker, promtool, is not asked here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from service.api.dependencies import Context
from service.measured_store import MeasuredStore
from service.metrics import Metrics
from workers.contract.store import StoreUnavailable

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
FUNCTIONS = {"histogram_quantile", "sum", "rate", "increase", "max", "time", "vector"}
WORDS = {"by", "and", "or"}
FROM_PROMETHEUS = {"instance", "job", "le"}  # labels that a scrape need not have


def queries() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.fixture
def told(client: TestClient, context: Context, metrics: Metrics) -> dict[str, set[str]]:
    """Every sample of a real scrape, with the names of its labels."""

    class Away:
        def get(self, key: str) -> bytes:
            raise StoreUnavailable(key)

    client.get("/v1/jobs")
    context.store.put("a", b"b")
    metrics.predictions.labels("answered").observe(0.1)
    with pytest.raises(StoreUnavailable):
        MeasuredStore(Away(), metrics).get("a")  # type: ignore[arg-type]
    with context.database.read() as session, pytest.raises(SQLAlchemyError):
        session.execute(text("SELECT * FROM nothing"))
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


def names(query: str) -> tuple[set[str], set[str]]:
    """Metrics and labels that a query names."""
    bare = re.sub(r'"[^"]*"', '""', query).replace("$__rate_interval", "5m")
    labels = {label for found in re.findall(r"by \(([^)]*)\)", bare) for label in re.split(r",\s*", found)}
    labels |= {label for found in re.findall(r"\{([^}]*)\}", bare) for label in re.findall(r"(\w+)[=!]", found)}
    rest = re.sub(r"by \([^)]*\)|\{[^}]*\}|\[\w+\]", "", bare)
    assert rest.count("(") == rest.count(")"), query
    functions = set(re.findall(r"([a-z_]+) ?\(", rest)) - WORDS
    assert functions <= FUNCTIONS, query
    return set(re.findall(r"[a-z_][a-z_0-9]*", rest)) - FUNCTIONS - WORDS, labels


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_every_name_in_a_query_is_told(told: dict[str, set[str]], where: str, query: str) -> None:
    metrics, labels = names(query)
    assert metrics, where
    for metric in metrics - {"up"}:
        assert metric in told, f"{where}: {metric}"
        assert labels <= told[metric] | FROM_PROMETHEUS, f"{where}: {labels}"


def test_everything_of_ours_that_is_told_is_drawn(told: dict[str, set[str]]) -> None:
    drawn = {metric for where, query in queries() for metric in names(query)[0]}
    ours = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in told if name.startswith("dale_")}
    for name in ours:
        assert any(metric.startswith(name) for metric in drawn), name


def test_the_reader_of_queries_finds_what_is_misspelt() -> None:
    metrics, labels = names('sum by (rout) (rate(dael_requests_total{status=~"5.."}[5m])) > 0.05 and up == 0')
    assert metrics == {"dael_requests_total", "up"}
    assert labels == {"rout", "status"}


def test_legends_name_labels_that_queries_keep() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                kept = names(target["expr"])[1] if " by (" in target["expr"] else FROM_PROMETHEUS
                assert label in kept, panel["title"]


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_alert_is_explained() -> None:
    guide = (ROOT / "docs/operations.md").read_text()
    for rule in RULES:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"] and rule["for"]
        assert f"| `{rule['alert']}` |" in guide, rule["alert"]
    assert set(re.findall(r"^\| `(Dale\w+)` \|", guide, re.MULTILINE)) == {rule["alert"] for rule in RULES}


def test_prometheus_scrapes_what_compose_starts(compose: dict[str, Any]) -> None:
    services = compose["services"]
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (scraped,) = config["scrape_configs"]
    api, reconciler = services["api"]["environment"], services["reconciler"]["environment"]
    port = reconciler["DALE_METRICS_LISTEN"].rpartition(":")[2]
    assert scraped["static_configs"] == [{"targets": [f"api:{api['DALE_PORT']}", f"reconciler:{port}"]}]
    assert scraped.get("metrics_path", "/metrics") == "/metrics"
    assert f"> {scraped['authorization']['credentials_file']})" in services["prometheus"]["command"][0]
    mounted = {one["target"]: one["source"] for name in ("prometheus", "grafana") for one in services[name]["configs"]}
    assert set(config["rule_files"]) <= mounted.keys()
    for source in mounted.values():
        assert (ROOT / compose["configs"][source]["file"]).parent == FOLDER
        assert (ROOT / compose["configs"][source]["file"]).exists()
    (source,) = yaml.safe_load((FOLDER / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    (provider,) = yaml.safe_load((FOLDER / "dashboards.yml").read_text())["providers"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"]) and home in mounted


def test_pods_say_where_they_are_scraped(manifests: list[dict[str, Any]]) -> None:
    pods = {one["metadata"]["name"]: one["spec"]["template"] for one in manifests if one["kind"] == "Deployment"}
    for name, pod in pods.items():
        said = pod["metadata"]["annotations"]
        assert (said["prometheus.io/scrape"], said["prometheus.io/path"]) == ("true", "/metrics"), name
        (container,) = pod["spec"]["containers"]
        assert [str(port["containerPort"]) for port in container["ports"]] == [said["prometheus.io/port"]], name
    variables = {one["name"]: one.get("value") for one in pods["dale-reconciler"]["spec"]["containers"][0]["env"]}
    assert variables["DALE_METRICS_LISTEN"] == "0.0.0.0:9464"
