"""The Kustomize base: its pods are confined and watched, its settings exist, and its names fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/kuberay"
VERSION = "1.37.0"  # of Kubernetes
TEMPLATE = list(yaml.safe_load_all((FOLDER / "secrets.template.yaml").read_text()))


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in manifests if found["kind"] == kind}


def pods(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod's specification, with a name for people."""
    for kind in ("Deployment", "Job"):
        for name, one in of_kind(manifests, kind).items():
            yield name, one["spec"]["template"]["spec"]
    for cluster in of_kind(manifests, "RayCluster").values():
        yield "ray head", cluster["spec"]["headGroupSpec"]["template"]["spec"]
        for group in cluster["spec"]["workerGroupSpecs"]:
            yield f"ray {group['groupName']}", group["template"]["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_the_parts_are_there_and_whole(manifests: list[dict[str, Any]]) -> None:
    for found in manifests:
        assert found["apiVersion"] and found["kind"] and found["metadata"]["name"]
        assert "namespace" not in found["metadata"], "Kustomize sets it"
    assert of_kind(manifests, "Deployment").keys() == {"dale-api", "dale-reconciler"}
    assert of_kind(manifests, "RayCluster").keys() == {"dale"}
    assert len(list(pods(manifests))) == 6
    for name, deployment in of_kind(manifests, "Deployment").items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels == {"app.kubernetes.io/name": name}
    service = of_kind(manifests, "Service")["dale-api"]["spec"]
    assert service["selector"] == {"app.kubernetes.io/name": "dale-api"}


def test_there_is_never_a_second_reconciler(manifests: list[dict[str, Any]]) -> None:
    spec = of_kind(manifests, "Deployment")["dale-reconciler"]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")


def test_pods_are_confined(manifests: list[dict[str, Any]]) -> None:
    for name, pod in pods(manifests):
        assert pod["automountServiceAccountToken"] is False, name
        # Or Kubernetes sets DALE_… variables of its own, such as DALE_API_PORT, which are no settings.
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for volume in pod["volumes"]:
            assert "emptyDir" in volume, f"{name}: {volume['name']} is a path of the machine or outlives the pod"
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert "/tmp" in {  # noqa: S108 - a path in the pod
                mount["mountPath"] for mount in container["volumeMounts"]
            }, name


def test_pods_are_watched_and_say_what_they_need(manifests: list[dict[str, Any]]) -> None:
    for name, pod in pods(manifests):
        for container in containers(pod):
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name
        (container,) = pod["containers"]
        if name == "dale-migrate":
            continue  # it ends
        assert "readinessProbe" in container, name
        assert "livenessProbe" in container or name == "dale-reconciler", name


def test_worker_groups_have_bounds_and_the_cluster_one_version_of_ray(manifests: list[dict[str, Any]]) -> None:
    spec = of_kind(manifests, "RayCluster")["dale"]["spec"]
    assert f"ray=={spec['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert groups.keys() == {"cpu", "gpu"}
    for name, group in groups.items():
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"], name
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert ("nvidia.com/gpu" in limits) is (name == "gpu")
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_ray_asks_for_a_token_and_knows_only_the_store(manifests: list[dict[str, Any]]) -> None:
    for name, pod in pods(manifests):
        if name.startswith("ray "):
            (container,) = pod["containers"]
            variables = {variable["name"]: variable for variable in container["env"]}
            assert variables["RAY_AUTH_MODE"]["value"] == "token", name
            assert variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "dale-ray", "key": "auth_token"}
            assert container["envFrom"] == [{"secretRef": {"name": "dale-store"}}], name


def test_secrets_are_templates_without_values(kustomization: dict[str, Any]) -> None:
    assert "secrets.template.yaml" not in kustomization["resources"], "applying the rest would empty them"
    assert {secret["metadata"]["name"] for secret in TEMPLATE} == {"dale-service", "dale-store", "dale-ray"}
    for secret in TEMPLATE:
        assert set(secret["stringData"].values()) == {""}
        assert "data" not in secret
    assert "secretGenerator" not in kustomization


def test_names_that_are_referred_to_exist(manifests: list[dict[str, Any]], kustomization: dict[str, Any]) -> None:
    secrets = {secret["metadata"]["name"]: secret["stringData"] for secret in TEMPLATE}
    settings = {generated["name"] for generated in kustomization["configMapGenerator"]}
    images = {image["name"] for image in kustomization["images"]}
    for name, pod in pods(manifests):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in containers(pod):
            assert container["image"] in images, name
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, name
            for source in container.get("envFrom", []):
                if "secretRef" in source:
                    assert source["secretRef"]["name"] in secrets, name
                else:
                    assert source["configMapRef"]["name"] in settings, name
            for variable in container.get("env", []):
                if "valueFrom" in variable:
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert reference["key"] in secrets[reference["name"]], name
    assert all(re.search(r"\d", image["newTag"]) for image in kustomization["images"])


def test_settings_exist(
    manifests: list[dict[str, Any]], kustomization: dict[str, Any], known_variables: set[str]
) -> None:
    used = {line.partition("=")[0] for one in kustomization["configMapGenerator"] for line in one["literals"]}
    used |= {key for secret in TEMPLATE for key in secret["stringData"] if key != "auth_token"}
    for _, pod in pods(manifests):
        used |= {variable["name"] for one in containers(pod) for variable in one.get("env", [])}
    ours = {name for name in used if name.startswith("DALE_")}
    assert len(ours) >= 9
    assert ours <= known_variables
    assert {name for name in used - ours if not name.startswith(("RAY_", "NCCL_"))} == set()


def test_nothing_is_open_but_what_is_meant_to_be(manifests: list[dict[str, Any]]) -> None:
    policies = {name: policy["spec"] for name, policy in of_kind(manifests, "NetworkPolicy").items()}
    assert policies["deny-by-default"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    open_to_all = [
        (name, port["port"])
        for name, policy in policies.items()
        for rule in policy.get("ingress", [])
        if "from" not in rule
        for port in rule["ports"]
    ]
    assert open_to_all == [("dale-api", 8000)]
    names = {"dale-api", "dale-reconciler"}
    selected = policies["dale-service"]["podSelector"]["matchExpressions"][0]["values"]
    assert set(selected) == names == of_kind(manifests, "Deployment").keys()


# No package has KubeRay's own schema: these are fields of its reference (docs/reference/api.md, ray.io/v1).
RAY_CLUSTER = {
    "spec": {"rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"},
    "head": {"rayStartParams", "template"},
    "worker": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}


def test_every_object_is_what_kubernetes_takes(manifests: list[dict[str, Any]]) -> None:
    for found in [*manifests, *TEMPLATE]:
        if found["kind"] != "RayCluster":
            kubernetes_validate.validate(found, VERSION, strict=True)
    for name, pod in pods(manifests):
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}, VERSION, strict=True
        )
        assert pod["containers"], name


@pytest.mark.parametrize(
    ("old", "new"), [("readinessProbe", "readynessProbe"), ("periodSeconds: 15", "periodSeconds: often")]
)
def test_what_kubernetes_would_refuse_is_found(old: str, new: str) -> None:
    text = (FOLDER / "api.yaml").read_text()
    assert old in text
    with pytest.raises(kubernetes_validate.ValidationError):
        for found in yaml.safe_load_all(text.replace(old, new)):
            kubernetes_validate.validate(found, VERSION, strict=True)


def test_the_ray_cluster_has_the_fields_of_kuberays_reference(manifests: list[dict[str, Any]]) -> None:
    cluster = of_kind(manifests, "RayCluster")["dale"]
    assert (cluster["apiVersion"], cluster["spec"].keys()) == ("ray.io/v1", RAY_CLUSTER["spec"])
    head, workers = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert head.keys() == RAY_CLUSTER["head"]
    for group in workers:
        assert group.keys() == RAY_CLUSTER["worker"]
        assert all(type(group[name]) is int for name in ("replicas", "minReplicas", "maxReplicas"))
    for group in (head, *workers):
        assert all(type(value) is str for value in group["rayStartParams"].values()), "as the operator wants them"
        assert group["template"].keys() <= {"metadata", "spec"}


def test_kustomize_finds_what_it_is_told_of(kustomization: dict[str, Any], manifests: list[dict[str, Any]]) -> None:
    beside = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "secrets.template.yaml"}
    assert set(kustomization["resources"]) == beside
    assert len(kustomization["resources"]) == len(beside)
    used = {one["image"] for _, pod in pods(manifests) for one in containers(pod)}
    assert {image["name"] for image in kustomization["images"]} == used, "an image that nothing uses is not renamed"
    referred = {
        source["configMapRef"]["name"]
        for _, pod in pods(manifests)
        for one in containers(pod)
        for source in one.get("envFrom", [])
        if "configMapRef" in source
    }
    assert {generated["name"] for generated in kustomization["configMapGenerator"]} == referred
    assert of_kind(manifests, "Namespace").keys() == {kustomization["namespace"]}


def test_one_job_changes_the_database_and_the_others_wait_for_it(manifests: list[dict[str, Any]]) -> None:
    (job,) = of_kind(manifests, "Job").values()
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"] == ["python", "-m", "service.db.migrations", "upgrade"]
    assert pod["restartPolicy"] == "Never"
    for deployment in of_kind(manifests, "Deployment").values():
        (first,) = deployment["spec"]["template"]["spec"]["initContainers"]
        assert first["command"] == ["python", "-m", "service.db.migrations", "wait"]
        # The same image, so that both mean the same revision by the newest.
        (main,) = deployment["spec"]["template"]["spec"]["containers"]
        assert first["image"] == main["image"] == pod["containers"][0]["image"]
        assert {"secretRef": {"name": "dale-service"}} in first["envFrom"], "it has the database's address"
    policies = {name: policy["spec"] for name, policy in of_kind(manifests, "NetworkPolicy").items()}
    allowed = policies["dale-migrate"]
    assert allowed["podSelector"]["matchLabels"] == job["spec"]["template"]["metadata"]["labels"]
    assert allowed["egress"] == [{"ports": [{"port": 5432}]}]
