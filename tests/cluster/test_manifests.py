"""The launcher's files: Ray's own launcher takes them, nobody is let in without a token, and they say what is meant."""

from __future__ import annotations

import copy
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "cluster").glob("*.yaml"))
CLOUDS = [path for path in FILES if path.stem in ("aws", "gcp")]
COMMANDS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
STOP = ROOT / "cluster/stop.sh"
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
STACK = yaml.safe_load((ROOT / "cluster/aws/stack.yaml").read_text())


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def by_name(path: Path) -> str:
    return path.stem


def strings(value: Any) -> Iterator[str]:
    """All strings in it, keys included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


each_file = pytest.mark.parametrize("path", FILES, ids=by_name)
each_cloud = pytest.mark.parametrize("path", CLOUDS, ids=by_name)


def test_there_is_a_file_for_each_place() -> None:
    """Machines of one's own, AWS and Google Cloud have one each; one that is added is checked like these."""
    assert {"onprem", "aws", "gcp"} <= {path.stem for path in FILES}


@each_file
def test_the_launcher_takes_it(path: Path) -> None:
    """Filled up with the provider's defaults as the launcher does it, each file is what the launcher's schema wants."""
    config = prepare_config(read(path))
    validate_config(config)
    assert config["head_node_type"] in config["available_node_types"]


def _without_head(config: dict[str, Any]) -> None:
    config["head_node_type"] = "nobody"


def _unknown_field(config: dict[str, Any]) -> None:
    config["idle_timeout_minute"] = 5


def _unknown_node_field(config: dict[str, Any]) -> None:
    next(iter(config["available_node_types"].values()))["max_worker"] = 1


def _wrong_type(config: dict[str, Any]) -> None:
    config["setup_commands"] = "make setup"


def _too_many(config: dict[str, Any]) -> None:
    config["available_node_types"]["cpu"]["min_workers"] = config["max_workers"] + 1


@each_cloud
@pytest.mark.parametrize("damage", [_without_head, _unknown_field, _unknown_node_field, _wrong_type, _too_many])
def test_the_launcher_refuses_mistakes(path: Path, damage: Callable[[dict[str, Any]], None]) -> None:
    """The check above can fail: what is misspelt, of the wrong type or contradictory is refused."""
    config = read(path)
    damage(config)
    with pytest.raises((jsonschema.ValidationError, ValueError, TypeError, AssertionError)):
        validate_config(prepare_config(config))


@each_file
def test_nobody_gets_in_without_the_token(path: Path) -> None:
    """Ray starts in token mode on every node, and the token comes there and is readable by its owner alone."""
    config = read(path)
    for key in STARTS:
        starts = [command for command in config[key] if "ray start" in command]
        assert starts
        assert all(re.search(r"\bRAY_AUTH_MODE=token ray start\b", command) for command in starts)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    assert "export RAY_AUTH_MODE=token" in (ROOT / "cluster/node.sh").read_text().splitlines()


@each_file
def test_nothing_is_open_to_the_world(path: Path) -> None:
    """The dashboard is on loopback, and no address stands for everybody."""
    config = read(path)
    heads = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    assert all("--dashboard-host=127.0.0.1" in command.split() for command in heads)
    assert not any("0.0.0.0" in text or "::/0" in text for text in strings(config))


@each_file
def test_starting_again_works(path: Path) -> None:
    """What runs is stopped first, limits are raised, and the head knows what workers there may be."""
    config = read(path)
    for key in STARTS:
        assert config[key][0] == "bash ~/entrepot/cluster/stop.sh"
        assert config[key][1].startswith("ulimit -n 65536;")
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in config["head_start_ray_commands"][1].split()
    assert "--address=$RAY_HEAD_IP:6379" in config["worker_start_ray_commands"][1].split()


@pytest.mark.parametrize(("found", "stopped"), [(0, True), (1, False), (127, True)])
def test_ray_is_stopped_where_it_runs(tmp_path: Path, found: int, stopped: bool) -> None:
    """Ray's own command, which takes seconds, is run if there may be something to stop; if it fails, so do we."""
    for name, text in (("pgrep", f"exit {found}"), ("ray", f"echo $* >{tmp_path}/asked; exit 3")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([STOP], env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert done.returncode == (3 if stopped else 0)
    assert [each.read_text() for each in tmp_path.glob("asked")] == (["stop\n"] if stopped else [])


@pytest.mark.parametrize("name", ["/site-packages/ray/core/src/ray/gcs/gcs_server", "ray::DashboardAgent"])
def test_rays_processes_are_known(tmp_path: Path, name: str) -> None:
    """Its servers are told by the package they come from, all others by what they call themselves."""
    (tmp_path / "ray").write_text("#!/bin/bash\nexit 3\n")
    (tmp_path / "ray").chmod(0o755)
    with subprocess.Popen(["bash", "-c", "exec -a $0 sleep 60", name]) as process:
        while psutil.Process(process.pid).cmdline()[:1] != [name]:
            time.sleep(0.01)
        done = subprocess.run([STOP], env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
        process.kill()
    assert done.returncode == 3


@each_file
def test_commands_are_shell(path: Path) -> None:
    """Bash can read every command."""
    config = read(path)
    for key in (*COMMANDS, *STARTS):
        for command in config.get(key, []):
            assert isinstance(command, str)
            checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
            assert not checked.returncode, f"{command}: {checked.stderr}"


@each_file
def test_all_nodes_are_set_up_alike(path: Path) -> None:
    """Wherever they stand, nodes get the same files and run the same commands."""
    ours, reference = read(path), read(ROOT / "cluster/onprem.yaml")
    for key in ("cluster_name", "file_mounts", "rsync_exclude", "setup_commands"):
        assert ours[key] == reference[key], key
    assert re.search(r"^setup:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_profile_is_extended_once(tmp_path: Path) -> None:
    """Setting a node up twice leaves one line in its profile."""
    (line,) = [each for each in read(FILES[0])["setup_commands"] if ".profile" in each]
    for _ in range(2):
        subprocess.run(["bash", "-c", line], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True)
    assert (tmp_path / ".profile").read_text() == ". ~/entrepot/cluster/node.sh\n"


# -- clouds -----------------------------------------------------------------------------------------------------------


@each_cloud
def test_workers_come_and_go(path: Path) -> None:
    """No worker is rented before it is needed or kept when it is not; all but the head are spot machines."""
    config = read(path)
    types = copy.deepcopy(config["available_node_types"])
    head = types.pop(config["head_node_type"])
    assert head["max_workers"] == 0
    assert not is_spot(head["node_config"])
    assert sum(each["max_workers"] for each in types.values()) == config["max_workers"]
    assert all(each["min_workers"] == 0 and is_spot(each["node_config"]) for each in types.values())
    assert 0 < config["idle_timeout_minutes"] <= 30
    assert config["provider"]["cache_stopped_nodes"] is False
    assert types["gpu"]["resources"]["GPU"] == 1
    assert "GPU" not in types["cpu"]["resources"]


def is_spot(node: dict[str, Any]) -> bool:
    return (
        node.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        or node.get("scheduling", {}).get("provisioningModel") == "SPOT"
    )


@each_cloud
def test_the_head_can_rent_workers(path: Path) -> None:
    """The provider's client is installed on the head in the version that people are told to install."""
    pins = re.findall(r"[a-z0-9-]+==[0-9.]+[0-9]", " ".join(read(path)["head_setup_commands"]))
    assert pins
    for text in (path.read_text().split("cluster_name:")[0], (ROOT / "cluster/README.md").read_text()):
        assert all(pin in text for pin in pins)


def test_aws_has_what_its_file_names() -> None:
    """The stack makes the roles, and the firewall that the launcher finds by name; zones are the region's."""
    config, resources = read(ROOT / "cluster/aws.yaml"), STACK["Resources"]
    profiles = {
        each["Properties"]["InstanceProfileName"]
        for each in resources.values()
        if each["Type"] == "AWS::IAM::InstanceProfile"
    }
    named = {name: each["node_config"] for name, each in config["available_node_types"].items()}
    assert {each["IamInstanceProfile"]["Name"] for each in named.values()} == profiles
    assert named.pop("head")["IamInstanceProfile"]["Name"] == "entrepot-head"
    assert {each["IamInstanceProfile"]["Name"] for each in named.values()} == {"entrepot-worker"}
    assert resources["Nodes"]["Properties"]["GroupName"] == config["provider"]["security_group"]["GroupName"]
    assert all(zone[:-1] == config["provider"]["region"] for zone in config["provider"]["availability_zone"].split(","))
    assert "IpPermissions" not in config["provider"]["security_group"]


def test_aws_lets_in_ssh_from_one_place_only() -> None:
    """The firewall has one rule for others, SSH from an address that cannot be everybody's, and one for the nodes."""
    resources = STACK["Resources"]
    (rule,) = resources["Nodes"]["Properties"]["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["ToPort"], rule["CidrIp"]) == (22, 22, {"Ref": "From"})
    others = [each for each in resources.values() if each["Type"] == "AWS::EC2::SecurityGroupIngress"]
    assert [each["Properties"]["SourceSecurityGroupId"] for each in others] == [{"Fn::GetAtt": ["Nodes", "GroupId"]}]
    pattern = re.compile(STACK["Parameters"]["From"]["AllowedPattern"])
    assert pattern.match("203.0.113.7/32")
    assert not pattern.match("0.0.0.0/0")


def test_aws_roles_may_do_no_more_than_they_must() -> None:
    """Workers use the bucket; the head besides rents workers, ends machines of this cluster, and passes one role."""
    resources = STACK["Resources"]
    assert "Policies" not in resources["WorkerRole"]["Properties"]
    (policy,) = resources["HeadRole"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    by_action = {action: each for each in statements for action in strings(each["Action"])}
    assert not any(action.endswith(":*") or action == "*" for action in by_action)
    assert by_action["iam:PassRole"]["Resource"] == {"Fn::GetAtt": ["WorkerRole", "Arn"]}
    named = by_action["ec2:TerminateInstances"]["Condition"]["StringEquals"]["aws:ResourceTag/ray-cluster-name"]
    assert named == read(ROOT / "cluster/aws.yaml")["cluster_name"]
    for resource in resources.values():
        assert set(resource) <= {"Type", "Properties", "DeletionPolicy", "UpdateReplacePolicy"}
    texts = {text for each in resources.values() for text in strings(each)}
    assert "0.0.0.0/0" not in texts


def test_aws_disks_are_encrypted_and_metadata_is_guarded() -> None:
    """What is on a disk is nobody else's, and credentials are not had by a forged request."""
    for each in read(ROOT / "cluster/aws.yaml")["available_node_types"].values():
        node = each["node_config"]
        assert node["MetadataOptions"] == {"HttpTokens": "required"}
        assert all(disk["Ebs"]["Encrypted"] is True for disk in node["BlockDeviceMappings"])
        assert node["ImageId"].startswith("resolve:ssm:/aws/service/")


def test_gcp_agrees_with_itself() -> None:
    """Disks are in the nodes' zone, accounts in their project; workers may use buckets and nothing else."""
    config = read(ROOT / "cluster/gcp.yaml")
    provider = config["provider"]
    assert provider["availability_zone"].startswith(provider["region"] + "-")
    for name, each in config["available_node_types"].items():
        node = each["node_config"]
        (disk,) = node["disks"]
        assert disk["boot"] is disk["autoDelete"] is True
        assert disk["initializeParams"]["diskType"].split("/")[1] == provider["availability_zone"]
        assert "/images/family/" in disk["initializeParams"]["sourceImage"]
        if name != config["head_node_type"]:
            (account,) = node["serviceAccounts"]
            assert account["email"] == f"ray-autoscaler-sa-v1@{provider['project_id']}.iam.gserviceaccount.com"
            assert account["scopes"] == ["https://www.googleapis.com/auth/devstorage.read_write"]
    assert config["available_node_types"]["gpu"]["node_config"]["scheduling"]["onHostMaintenance"] == "TERMINATE"
    text = (ROOT / "cluster/gcp.yaml").read_text()
    assert all("(1)" in line for line in text.splitlines() if "PROJECT" in line)
