"""Kubernetes: manifests are what KubeRay's schemas want, closed to strangers, and agree with the code they start."""

from __future__ import annotations

import copy
import hashlib
import lzma
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serve import launch
from serve.settings import ServeSettings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster/kuberay"
SCHEMAS = Path(__file__).with_name("schemas")
RAY = re.search(r"^ray\[.*\]==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE).group(1)  # type: ignore[union-attr]
IMAGE = f"registry.example.com/entrepot:ray-{RAY}"

OBJECT_META = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A structural schema of Kubernetes as one of JSON Schema that refuses what the API server would drop.

    `kubectl apply` refuses unknown fields as well; rules in CEL (x-kubernetes-validations) are not looked at.
    """
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"], **{key: schema[key] for key in ("pattern",) if key in schema}}
    kept = {
        key: value for key, value in schema.items() if not key.startswith("x-") and key not in ("format", "default")
    }
    if "properties" in kept:
        kept["properties"] = {name: strict(inner) for name, inner in kept["properties"].items()}
    if isinstance(kept.get("additionalProperties"), dict):
        kept["additionalProperties"] = strict(kept["additionalProperties"])
    elif kept.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    if "items" in kept:
        kept["items"] = strict(kept["items"])
    if kept.pop("nullable", False):
        kept["type"] = [kept["type"], "null"]
    return kept


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """The strict schema of one of KubeRay's kinds."""
    text = lzma.decompress((SCHEMAS / f"ray.io_{kind.lower()}s.yaml.xz").read_bytes())
    definition = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = OBJECT_META
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return schema


def check(value: Any, schema: dict[str, Any]) -> None:
    """Raises ValidationError if a value is not what a schema wants (that the schema is one is seen once, for all)."""
    jsonschema.Draft202012Validator(schema).validate(value)


def part_of(kind: str, path: str) -> dict[str, Any]:
    """The schema of something of Kubernetes's own that one of KubeRay's kinds contains."""
    schema = schema_of(kind)
    for name in path.split("."):
        schema = schema["items"] if name == "*" else schema["properties"][name]
    return schema


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def document(name: str, kind: str) -> dict[str, Any]:
    (found,) = [each for each in documents(name) if each["kind"] == kind]
    return found


RESOURCES = {
    "RayCluster": document("raycluster.yaml", "RayCluster"),
    "RayJob": document("rayjob.yaml", "RayJob"),
    "RayService": document("rayservice.yaml", "RayService"),
}
CLUSTERS: dict[str, dict[str, Any]] = {
    "RayCluster": RESOURCES["RayCluster"]["spec"],
    "RayJob": RESOURCES["RayJob"]["spec"]["rayClusterSpec"],
    "RayService": RESOURCES["RayService"]["spec"]["rayClusterConfig"],
}
ALL = [each for path in sorted(FOLDER.glob("*.yaml")) for each in documents(path.name)]


def pods(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Specifications of a cluster's pods, the head's first."""
    yield cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster["workerGroupSpecs"]:
        yield group["template"]["spec"]


def all_pods() -> Iterator[dict[str, Any]]:
    for cluster in CLUSTERS.values():
        yield from pods(cluster)
    yield RESOURCES["RayJob"]["spec"]["submitterPodTemplate"]["spec"]
    for each in ALL:
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"]


each_kind = pytest.mark.parametrize("kind", RESOURCES)

# -- schemas ----------------------------------------------------------------------------------------------------------


@each_kind
def test_kuberay_takes_it(kind: str) -> None:
    """Each resource is what the schema of its kind wants, with no field that it does not know."""
    check(RESOURCES[kind], schema_of(kind))


def test_kubernetes_takes_the_rest() -> None:
    """What is Kubernetes's own is checked by the same schemas, which contain its parts."""
    template = part_of("RayCluster", "spec.headGroupSpec.template.spec")
    parts: dict[str, Callable[[dict[str, Any]], list[tuple[Any, dict[str, Any]]]]] = {
        "Namespace": lambda _: [],
        "ConfigMap": lambda each: [(each["data"], {"type": "object", "additionalProperties": {"type": "string"}})],
        "Deployment": lambda each: [(each["spec"]["template"]["spec"], template)],
        "Service": lambda each: [(each["spec"], part_of("RayCluster", "spec.headGroupSpec.headService.spec"))],
        "PersistentVolumeClaim": lambda each: [
            (
                each["spec"],
                part_of(
                    "RayCluster",
                    "spec.headGroupSpec.template.spec.volumes.*.ephemeral.volumeClaimTemplate.spec",
                ),
            )
        ],
        "NetworkPolicy": lambda each: [
            (rule, part_of("RayCluster", "spec.networkPolicy.head.ingressRules.*")) for rule in each["spec"]["ingress"]
        ],
    }
    own = [each for each in ALL if not each["apiVersion"].startswith("ray.io/")]
    assert {each["kind"] for each in own} == set(parts)
    for each in own:
        check(each["metadata"], OBJECT_META)
        for value, schema in parts[each["kind"]](each):
            assert schema.get("type") == "object"
            check(value, schema)


DAMAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "unknown field": lambda spec: spec.update(rayversion="2.60.0"),
    "unknown field, deep": lambda spec: next(pods(spec))["containers"][0].update(resource={}),
    "unknown mode": lambda spec: spec["authOptions"].update(mode="tokens"),
    "wrong type": lambda spec: spec["workerGroupSpecs"][0].update(replicas="two"),
    "not a quantity": lambda spec: next(pods(spec))["containers"][0]["resources"]["limits"].update(memory="8 GB"),
    "a container without a name": lambda spec: next(pods(spec))["containers"][0].pop("name"),
    "no worker's name": lambda spec: spec["workerGroupSpecs"][0].pop("groupName"),
    "a number among parameters": lambda spec: spec["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
}


@pytest.mark.parametrize("damage", DAMAGES)
@each_kind
def test_kuberay_refuses_mistakes(kind: str, damage: str) -> None:
    """The check above can fail, at every depth."""
    broken = copy.deepcopy(RESOURCES[kind])
    spec = broken["spec"]
    DAMAGES[damage](spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec)
    with pytest.raises(jsonschema.ValidationError):
        check(broken, schema_of(kind))


def test_schemas_are_what_kuberay_published() -> None:
    """Nobody has touched the vendored definitions: they have the hashes that the README beside them gives."""
    told = dict(
        reversed(line.split()) for line in (SCHEMAS / "README.md").read_text().splitlines() if "  ray.io_" in line
    )
    found = {
        path.stem: hashlib.sha256(lzma.decompress(path.read_bytes())).hexdigest() for path in SCHEMAS.glob("*.yaml.xz")
    }
    assert len(found) == 3
    assert found == told


def test_schemas_are_schemas() -> None:
    """What is made of the definitions is JSON Schema, so that nothing in it is passed over."""
    jsonschema.Draft202012Validator.check_schema(schema_of("RayCluster"))


# -- what the schemas do not say --------------------------------------------------------------------------------------


@each_kind
def test_nobody_gets_in_without_a_token(kind: str) -> None:
    """Each cluster is in token mode, and says the version without which the operator refuses that."""
    assert CLUSTERS[kind]["authOptions"] == {"mode": "token"}
    assert CLUSTERS[kind]["rayVersion"] == RAY


def test_one_image_of_our_version_runs_everywhere() -> None:
    """All pods run the image that the Dockerfile tells to build, tagged with our Ray's version."""
    assert {container["image"] for pod in all_pods() for container in pod["containers"]} == {IMAGE}
    assert f"-t {IMAGE} " in (FOLDER / "Dockerfile").read_text()
    assert f"/entrepot:ray-{RAY} " in (ROOT / "cluster/README.md").read_text()


def test_pods_get_what_they_ask_for() -> None:
    """Requests are limits, in whole CPUs for Ray's pods, so none is throttled or evicted for another's sake."""
    for pod in all_pods():
        for container in pod["containers"]:
            resources = container["resources"]
            assert resources["requests"] == resources["limits"]
            assert {"cpu", "memory"} <= set(resources["limits"])
            if container["name"].startswith("ray-"):
                assert resources["limits"]["cpu"].isdigit()
    for cluster in CLUSTERS.values():
        scaler = cluster.get("autoscalerOptions", {"resources": {"requests": 0, "limits": 0}})["resources"]
        assert scaler["requests"] == scaler["limits"]


@each_kind
def test_workers_come_and_go(kind: str) -> None:
    """Groups lie within their bounds, and where there is an autoscaler they begin with nothing."""
    for group in CLUSTERS[kind]["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        if CLUSTERS[kind].get("enableInTreeAutoscaling"):
            assert group["replicas"] == 0 < group["maxReplicas"]


def test_gpus_are_for_those_who_ask() -> None:
    """One group has a GPU a pod, tolerates the taint of such nodes, and starts with none; no other pod has one."""
    with_gpu = []
    for cluster in CLUSTERS.values():
        for group, pod in zip([None, *cluster["workerGroupSpecs"]], pods(cluster), strict=True):
            if "nvidia.com/gpu" in pod["containers"][0]["resources"]["limits"]:
                with_gpu.append(group["groupName"] if group else "head")
                assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    assert with_gpu == ["gpu"]


def test_pods_have_no_rights_they_do_not_need() -> None:
    """Nothing runs as root or can become it; only pods with an autoscaler hold a key to Kubernetes."""
    for pod in all_pods():
        secure = pod["securityContext"]
        assert secure["runAsNonRoot"] is True
        assert secure["runAsUser"] == 1000
        assert secure["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for cluster in CLUSTERS.values():
        head, *workers = pods(cluster)
        scales = bool(cluster.get("enableInTreeAutoscaling"))
        assert head.get("automountServiceAccountToken", True) is scales
        assert all(pod["automountServiceAccountToken"] is False for pod in workers)
        if scales:
            assert cluster["autoscalerOptions"]["securityContext"]["allowPrivilegeEscalation"] is False
    assert "USER 1000:1000" in (FOLDER / "Dockerfile").read_text().splitlines()


def test_few_reach_the_head() -> None:
    """The dashboard is on loopback where that will do; else only the operator and what submits jobs reach it."""
    assert CLUSTERS["RayCluster"]["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    policies = {each["metadata"]["name"]: each["spec"] for each in ALL if each["kind"] == "NetworkPolicy"}
    assert policies["ray"]["podSelector"]["matchLabels"] == {"ray.io/is-ray-node": "yes"}
    for policy in policies.values():
        assert policy["policyTypes"] == ["Ingress"]
        assert all(rule["from"] for rule in policy["ingress"])
        assert not any("ipBlock" in peer for rule in policy["ingress"] for peer in rule["from"])
    everywhere, *narrow = policies["ray"]["ingress"]
    assert everywhere["from"] == [{"podSelector": policies["ray"]["podSelector"]}]
    ports = {port["port"]: [] for rule in narrow for port in rule["ports"]}
    for rule in narrow:
        for port in rule["ports"]:
            ports[port["port"]] += [peer.get("podSelector", {}).get("matchLabels") for peer in rule["from"]]
    assert set(ports) == {8265, 8000, 8080}
    operator = {"app.kubernetes.io/name": "kuberay-operator"}
    assert ports[8265] == [{"ray.io/originated-from-crd": "RayJob"}, operator]
    assert not any(each["spec"].get("type", "ClusterIP") != "ClusterIP" for each in ALL if each["kind"] == "Service")


def test_what_is_mounted_is_there() -> None:
    """Every mount has its volume, and every claim, secret and map is made here or said to be made."""
    claims = {each["metadata"]["name"] for each in ALL if each["kind"] == "PersistentVolumeClaim"}
    maps = {each["metadata"]["name"] for each in ALL if each["kind"] == "ConfigMap"}
    for pod in all_pods():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= set(volumes)
            assert {each["configMapRef"]["name"] for each in container.get("envFrom", [])} <= maps
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            else:
                text = (FOLDER / "rayservice.yaml").read_text()
                assert f"create secret generic {volume['secret']['secretName']} --from-file=keys.json" in text
    assert all(each["metadata"].get("namespace", "entrepot") == "entrepot" for each in ALL)


# -- jobs -------------------------------------------------------------------------------------------------------------


def test_a_lost_job_is_tried_again_and_leaves_nothing() -> None:
    """The operator starts it anew on a new cluster, and takes the cluster away when it has ended."""
    spec = RESOURCES["RayJob"]["spec"]
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["backoffLimit"] > 0
    assert spec["submitterConfig"]["backoffLimit"] > 0
    assert spec["submitterPodTemplate"]["spec"]["restartPolicy"] == "Never"
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    command = spec["entrypoint"].split()
    assert command[0] == "/opt/entrepot/cluster/kuberay/train.sh"
    assert f"WORKDIR {command[0].removesuffix('/cluster/kuberay/train.sh')}" in (FOLDER / "Dockerfile").read_text()
    assert os.access(FOLDER / "train.sh", os.X_OK)


RESUMED = "train trading --experiment mine --resume --set resources.results=/results"
BEGUN = "train trading --experiment mine --set ppo.lr=0.001 --set resources.results=/results --set env.name=x y"


@pytest.mark.parametrize(
    ("codes", "said", "code"),
    [
        ([0], [RESUMED], 0),
        ([1], [RESUMED], 1),
        ([2, 0], [RESUMED, BEGUN], 0),
        ([2, 1], [RESUMED, BEGUN], 1),
    ],
)
def test_a_job_resumes_what_has_begun(tmp_path: Path, codes: list[int], said: list[str], code: int) -> None:
    """The job's command goes on with its run, and begins it only where that is refused; it fails if training does."""
    program, log = tmp_path / "bin/entrepot", tmp_path / "log"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{log}\nset -- {" ".join(map(str, codes))}\n'
        f'[ "$(wc -l <{log})" = 2 ] && shift\nexit $1\n'
    )
    program.chmod(0o755)
    settings = ["--set", "ppo.lr=0.001", "--set", "resources.results=/results", "--set", "env.name=x y"]
    command = [FOLDER / "train.sh", "trading", "mine", *settings]
    done = subprocess.run(command, env={"PATH": f"{program.parent}:/usr/bin:/bin"}, capture_output=True)
    assert log.read_text().splitlines() == said
    assert done.returncode == code


# -- the service ------------------------------------------------------------------------------------------------------


def test_serve_takes_its_part() -> None:
    """Ray Serve's own schema takes the part that is its, and our settings take their arguments."""
    config = ServeDeploySchema.model_validate(yaml.safe_load(RESOURCES["RayService"]["spec"]["serveConfigV2"]))
    (application,) = config.applications
    assert (application.import_path, application.route_prefix) == ("serve.app:build", "/")
    settings = ServeSettings.model_validate(application.args)
    assert settings.replicas == sum(group["replicas"] for group in CLUSTERS["RayService"]["workerGroupSpecs"])
    mounts = next(pods(CLUSTERS["RayService"]))["containers"][0]["volumeMounts"]
    assert str(settings.keys_file) == f"{mounts[0]['mountPath']}/keys.json"
    services = {
        f"http://{each['metadata']['name']}:{port['port']}"
        for each in ALL
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    }
    assert settings.tracking_uri in services


def test_serve_starts_as_on_one_machine(tmp_path: Path) -> None:
    """Pods have what `entrepot serve` sets, but for places and ports on one machine, its token, and its CPUs."""
    here = launch._environment(ServeSettings(), tmp_path, (1, 2, 3))
    one_machine = re.compile(r"_(PATH|LOC|BASE|FILE|PORT|NBTHREAD)$")
    wanted = {
        name: value
        for name, value in here.items()
        if name.startswith("RAY_SERVE_") and (name.endswith("_IMPORT_PATH") or not one_machine.search(name))
    }
    del wanted["RAY_SERVE_LOG_TO_STDERR"]  # `kubectl logs` reads it
    found = document("rayservice.yaml", "ConfigMap")["data"]
    del found["RAY_SERVE_HAPROXY_NBTHREAD"]
    assert found == wanted


# -- the image --------------------------------------------------------------------------------------------------------


def test_the_image_has_our_pins() -> None:
    """The image has a Python that we allow, the pinned requirements, and neither secrets nor results."""
    lines = (FOLDER / "Dockerfile").read_text()
    major, minor = map(int, re.search(r"^FROM python:(\d+)\.(\d+)-slim$", lines, re.MULTILINE).groups())  # type: ignore[union-attr]
    assert (major, minor) >= (3, 11)
    assert "COPY requirements.txt ." in lines
    assert "-r requirements.txt" in lines
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert {".git", ".venv*", "results", "keys.json", "mlflow.db*"} <= set(ignored)
