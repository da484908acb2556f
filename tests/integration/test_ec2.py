"""./just ec2 against moto's server, which stands in for AWS; the tool has met no real account.

What moto's CloudFormation does not play: bucket policies, a bucket's settings but for encryption
and tags, an instance's metadata options, change lists of updates, failures and their rollback. So
the template is held against cfn-lint's schemas and read, and failures are put into AWS's answers.
tests/support/moto_server.py says what it adds.
"""

import ast
import base64
import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pytest
from botocore.client import BaseClient, Config
from botocore.exceptions import ClientError
from cfnlint.decode import decode  # type: ignore[import-untyped]

from deploy import ec2, plan, stack
from deploy.archive import Archive
from deploy.site import Row
from identity.authority import Authority

ROOT = Path(__file__).resolve().parents[2]
REGION = "eu-central-1"
ALLOW = "203.0.113.0/24"
BUCKET = "my-faces"
# moto has no parameter of Canonical's and lets none be made below /aws, but it has Amazon Linux's.
AMI = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
UP = ("up", "--bucket", BUCKET, "--allow", ALLOW, "--ami", AMI, "--yes")
TAGS = [{"Key": "facebridge", "Value": "facebridge"}]
PLACE = {"LocationConstraint": REGION}
SERVER = "from tests.support.moto_server import main; main()"
THINGS = ("stack", "bucket", "role", "profile", "group", "instance", "volume", "address")
NOTHING: dict[str, list[str]] = {thing: [] for thing in THINGS}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    command = [sys.executable, "-c", SERVER]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as moto:
        assert moto.stdout
        yield f"http://127.0.0.1:{int(moto.stdout.readline())}"
        moto.communicate()  # it ends when its input does


class Account:
    """An empty AWS account, seen past the tool; `instead` answers the tool's calls for AWS."""

    def __init__(self, url: str, pki: Path) -> None:
        reset = urllib.request.Request(f"{url}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()
        self.url = url
        self.pki = pki
        self.broker = True
        self.instead: dict[str, Callable[..., Any]] = {}
        self.calls: list[str] = []
        session = boto3.session.Session("test", "test", region_name=REGION)
        config = Config(s3={"addressing_style": "path"})
        names = ("cloudformation", "ec2", "s3", "iam")
        clients = [session.client(name, endpoint_url=url, config=config) for name in names]
        self.stacks, self.ec2, self.s3, self.iam = clients

    def run(self, *words: str, code: int = 0, **env: str) -> str:
        """What the tool prints; errors are one line."""
        pki = [] if words[0] == "down" else ["--pki", str(self.pki)]
        env = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": "/none",
            "AWS_SHARED_CREDENTIALS_FILE": "/none",
            "AWS_ENDPOINT_URL": self.url,
            "COLUMNS": "300",
            **env,
        }
        out = io.StringIO()
        err = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            for name in env:
                patch.setenv(name, env[name])
                if not env[name]:
                    patch.delenv(name)
            patch.setattr(sys, "argv", ["ec2", *words, *pki])
            patch.setattr(sys, "stdin", io.StringIO())
            patch.setattr(plan, "answers", lambda _: self.broker)
            patch.setattr(stack, "POLL_S", 1)
            patch.setattr(BaseClient, "_make_api_call", self._caller())
            ended: Any = 0
            try:
                ec2.main()
            except SystemExit as end:
                ended = end.code
        if isinstance(ended, str):
            print(ended, file=err)
            ended = 1
        assert int(ended) == code, out.getvalue() + err.getvalue()
        said = [line for line in err.getvalue().splitlines() if not line.startswith("done: ")]
        in_table = words[0] == "status" and out.getvalue()
        assert len(said) == (code and not in_table), err.getvalue()
        return out.getvalue() + err.getvalue()

    def _caller(self) -> Callable[..., Any]:
        make = BaseClient._make_api_call

        def call(client: Any, name: str, words: dict[str, Any]) -> Any:
            self.calls.append(name)
            if name in self.instead:
                return self.instead[name](lambda: make(client, name, words))
            return make(client, name, words)

        return call

    def ids(self) -> dict[str, Any]:
        """What there is that anyone made."""
        groups = self.ec2.describe_security_groups()["SecurityGroups"]
        return {
            "stack": [one["StackName"] for one in self.stacks.describe_stacks()["Stacks"]],
            "bucket": [one["Name"] for one in self.s3.list_buckets()["Buckets"]],
            "role": [one["RoleName"] for one in self.iam.list_roles()["Roles"]],
            "profile": [
                one["InstanceProfileName"]
                for one in self.iam.list_instance_profiles()["InstanceProfiles"]
            ],
            "group": [one["GroupId"] for one in groups if one["GroupName"] != "default"],
            "instance": [one["InstanceId"] for one in self.instances()],
            "volume": [one["VolumeId"] for one in self.ec2.describe_volumes()["Volumes"]],
            "address": [one["PublicIp"] for one in self.ec2.describe_addresses()["Addresses"]],
        }

    def instances(self) -> list[dict[str, Any]]:
        live = [{"Name": "instance-state-name", "Values": ["running", "stopped"]}]
        found = self.ec2.describe_instances(Filters=live)["Reservations"]
        return [one for few in found for one in few["Instances"]]

    def launch(self) -> dict[str, Any]:
        """What the newest version of the launch template says."""
        (one,) = self.ec2.describe_launch_templates()["LaunchTemplates"]
        answer = self.ec2.describe_launch_template_versions(
            LaunchTemplateId=one["LaunchTemplateId"], Versions=["$Latest"]
        )
        return dict(answer["LaunchTemplateVersions"][0]["LaunchTemplateData"])

    def script(self) -> str:
        """What an instance does first."""
        return base64.b64decode(self.launch()["UserData"]).decode()

    def make_bucket(self, tags: list[dict[str, str]]) -> None:
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=PLACE)
        if tags:
            self.s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags})

    def make_instance(self, tags: list[dict[str, str]]) -> str:
        image = self.ec2.describe_images()["Images"][0]["ImageId"]
        words: dict[str, Any] = {"ImageId": image, "MinCount": 1, "MaxCount": 1}
        if tags:
            words["TagSpecifications"] = [{"ResourceType": "instance", "Tags": tags}]
        return str(self.ec2.run_instances(**words)["Instances"][0]["InstanceId"])


LOADER = botocore.loaders.create_loader()


@pytest.fixture
def account(
    server: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Account:
    # One for all runs, for it reads many megabytes.
    monkeypatch.setattr(botocore.session, "create_loader", lambda _: LOADER)
    pki = tmp_path_factory.getbasetemp() / "pki"
    for name in ("cloud-broker", "processor"):
        if not Authority(pki).has(name):
            Authority(pki).issue(name)
    return Account(server, pki)


def table(text: str) -> dict[str, str]:
    """What a plan or a status says of each thing."""
    rows = [line.split("│") for line in text.splitlines() if line.startswith("│")]
    return {row[1].strip(): row[3].strip() for row in rows}


def no(code: str) -> Callable[..., Any]:
    """A call that AWS refuses."""

    def refuse(_: Any) -> Any:
        answer: Any = {"Error": {"Code": code, "Message": "no"}}
        answer["ResponseMetadata"] = {"HTTPStatusCode": 403}
        raise ClientError(answer, "Call")

    return refuse


def test_a_dry_run_and_a_run_without_consent_make_nothing(account: Account, tmp_path: Path) -> None:
    account.pki = tmp_path / "pki"
    said = account.run(*UP, "--dry-run")
    made = dict.fromkeys(
        ("stack", "bucket", "role", "instance profile", "archive", "address"), "make"
    )
    group = {"security group": f"make: 8883 from {ALLOW}", "instance": "make: t4g.small"}
    assert table(said) == {"identity": "make", **made, **group}
    assert "cost money at AWS" in said
    refused = "there is no terminal to ask on: --yes goes on; nothing was changed"
    assert refused in account.run(*UP[:-1], code=1)
    assert account.ids() == NOTHING
    assert not account.pki.exists()


def test_it_makes_what_it_says(account: Account) -> None:
    assert "nothing of facebridge in eu-central-1: ./just ec2 up" in account.run("status", code=1)
    said = account.run(*UP)
    made = account.ids()
    assert {thing: len(ids) for thing, ids in made.items()} == dict.fromkeys(NOTHING, 1)
    assert f"CLOUD_ADDRESS={made['address'][0]}" in said
    assert "the EndpointSlice form in k8s/edge/cloud.yaml" in said
    assert re.search(r"done: make archive deploy/[0-9a-f]{64}\.tar\n", said)
    assert f"done: make instance {made['instance'][0]}\n" in said
    assert account.s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == TAGS

    (role,) = made["role"]
    answer = account.iam.get_role_policy(RoleName=role, PolicyName="processor")
    policy = ast.literal_eval(answer["PolicyDocument"])  # which moto does not spell in JSON
    arn = f"arn:aws:s3:::{BUCKET}"
    assert policy["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:GetObject"],
            "Resource": [f"{arn}/faces/*", f"{arn}/quarantine/*"],
        },
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn},
    ]
    assert account.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    (group,) = account.ec2.describe_security_groups(GroupIds=made["group"])["SecurityGroups"]
    (rule,) = group["IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 8883, 8883)
    assert [one["CidrIp"] for one in rule["IpRanges"]] == [ALLOW]
    (one,) = account.instances()
    assert [group["GroupId"] for group in one["SecurityGroups"]] == made["group"]
    assert TAGS[0] in one["Tags"]
    launch = account.launch()
    assert launch["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert made["profile"][0] in launch["IamInstanceProfile"]["Arn"]
    (volume,) = account.ec2.describe_volumes()["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (16, "gp3", True)

    states = table(account.run("status"))
    assert states["security group"] == f"8883 from {ALLOW}"
    assert states["instance"] == "running, t4g.small, runs this checkout"
    assert states["address"] == f"of {made['instance'][0]}; 8883 answers"
    account.broker = False
    said = account.run("status", code=1)
    assert table(said)["address"].endswith("8883 does not answer")
    assert "/var/log/cloud-init-output.log" in said


def test_a_second_time_changes_nothing(account: Account) -> None:
    account.run(*UP)
    before = account.ids()
    account.calls.clear()
    said = account.run("up", "--allow", ALLOW, "--ami", AMI)  # the bucket is known by now
    assert set(table(said).values()) == {"keep"}
    assert "no change" in said
    assert account.ids() == before
    assert all(name.startswith(("Describe", "List", "Get", "Head")) for name in account.calls)


def test_what_is_allowed_changes_and_no_more(account: Account) -> None:
    account.run(*UP)
    before = account.ids()
    steps = table(account.run("up", "--allow", "198.51.100.7", "--ami", AMI, "--yes"))
    changed = {thing: step for thing, step in steps.items() if step != "keep"}
    wanted = f"change: + 8883 from 198.51.100.7/32 - 8883 from {ALLOW}"
    assert changed == {"security group": wanted}
    assert table(account.run("status"))["security group"] == "8883 from 198.51.100.7/32"
    (group,) = account.ec2.describe_security_groups(
        Filters=[{"Name": "tag-key", "Values": ["facebridge"]}]
    )["SecurityGroups"]
    assert [one["IpRanges"] for one in group["IpPermissions"]] == [[{"CidrIp": "198.51.100.7/32"}]]
    # moto makes the group anew, AWS does not.
    assert {**account.ids(), "group": before["group"]} == before
    many = [word for number in range(9) for word in ("--allow", f"10.{2 * number}.0.0/16")]
    assert "--allow: 8 networks at most: name wider ones" in account.run("up", *many, code=1)


def test_ssh_opens_for_whom_it_is_asked_and_closes_again(account: Account) -> None:
    account.ec2.create_key_pair(KeyName="mine")
    account.ec2.create_key_pair(KeyName="another")
    account.run(*UP, "--ssh", "192.0.2.1/32", "--key", "mine")
    opened = f"22 from 192.0.2.1/32, 8883 from {ALLOW}"
    assert table(account.run("status"))["security group"] == opened
    assert account.instances()[0]["KeyName"] == "mine"
    account.run(*UP)
    assert table(account.run("status"))["security group"] == f"8883 from {ALLOW}"
    lacks = "lacks the key another: --replace, or leave"
    assert lacks in account.run(*UP, "--ssh", ALLOW, "--key", "another", code=1)
    account.run(*UP, "--ssh", ALLOW, "--key", "another", "--replace")
    assert [one["KeyName"] for one in account.instances()] == ["another"]


def test_an_older_instance_is_replaced_only_when_asked(account: Account, tmp_path: Path) -> None:
    account.run(*UP)
    before = account.ids()
    account.pki = tmp_path / "pki"
    for name in ("cloud-broker", "processor"):
        Authority(account.pki).issue(name)
    assert table(account.run("status"))["instance"].endswith("runs something older")
    older = "it runs something older than this checkout: --replace makes another"
    assert table(account.run(*UP))["instance"] == f"keep; {older}"
    assert account.ids() == before
    account.run(*UP, "--replace")
    after = account.ids()
    assert after["instance"] != before["instance"]
    assert len(after["instance"]) == 1
    assert after["address"] == before["address"]
    state = table(account.run("status"))
    assert state["instance"].endswith("runs this checkout")
    assert state["address"] == f"of {after['instance'][0]}; 8883 answers"


def test_an_instance_that_was_stopped_or_removed_comes_back(account: Account) -> None:
    account.run(*UP)
    (id,) = account.ids()["instance"]
    account.ec2.stop_instances(InstanceIds=[id])
    assert table(account.run(*UP))["instance"] == "change: start"
    account.run("status")
    account.ec2.terminate_instances(InstanceIds=[id])
    said = table(account.run("status", code=1))
    assert said["address"].endswith("; up gives it to ours")
    assert said["instance"] == "missing: ./just ec2 up makes it"
    account.run(*UP)
    account.run("status")
    assert len(account.ids()["instance"]) == 1


def test_down_leaves_nothing_but_what_is_not_ours(account: Account) -> None:
    account.make_instance([])
    account.s3.create_bucket(Bucket="theirs", CreateBucketConfiguration=PLACE)
    account.ec2.allocate_address(Domain="vpc")
    before = account.ids()
    account.run(*UP)
    other = ["--name", "other", "--bucket", "others-faces"]
    account.run("up", *other, "--allow", ALLOW, "--ami", AMI, "--yes")
    account.run("down", "--name", "other", "--yes")
    assert table(account.run("status"))["instance"].startswith("running")
    assert table(account.run("down", "--dry-run"))["bucket"] == "remove: no face"
    account.run("down", "--yes")
    assert account.ids() == before
    assert "nothing of facebridge in eu-central-1" in account.run("down", "--yes")


def test_faces_stay_unless_told_otherwise(account: Account) -> None:
    account.run(*UP)
    for name in ("faces/edge-07/door/a.png", "faces/edge-07/door/b.png", "quarantine/c.bin"):
        account.s3.put_object(Bucket=BUCKET, Key=name, Body=b"png")
    held = "2 in faces/, 1 in quarantine/"
    kept = f"keep: {held}, with all versions; --delete-faces removes it and them"
    assert table(account.run("down", "--yes"))["bucket"] == kept
    assert account.ids() == {**NOTHING, "bucket": [BUCKET]}
    keys = [one["Key"] for one in account.s3.list_object_versions(Bucket=BUCKET)["Versions"]]
    assert len(keys) == 3  # the archive has gone
    assert table(account.run("status", code=1))["bucket"] == "there"
    # It is taken into use again, and stays outside of the new stack.
    again = account.run("up", "--allow", ALLOW, "--ami", AMI, "--yes")
    assert table(again)["bucket"] == "keep"
    account.run("status")
    said = account.run("down", "--yes", "--delete-faces")
    assert table(said)["bucket"] == f"remove: {held}"
    assert account.ids() == NOTHING


def test_what_bears_our_name_but_not_our_tag_is_refused(account: Account) -> None:
    account.make_bucket([])
    refused = (
        "is there without the tag facebridge=facebridge, so it is left alone: "
        "use another name; nothing was changed"
    )
    assert f"bucket {BUCKET} {refused}" in account.run(*UP, code=1)
    account.instead["HeadBucket"] = no("403")
    assert f"bucket {BUCKET}: somebody else's, or closed to you" in account.run(*UP, code=1)
    account.instead["DescribeStacks"] = lambda _: {
        "Stacks": [{"StackName": "facebridge", "Tags": []}]
    }
    assert f"stack facebridge {refused}" in account.run(*UP, code=1)
    assert account.ids() == {**NOTHING, "bucket": [BUCKET]}


def test_what_a_version_without_a_stack_made_is_taken_over(account: Account) -> None:
    account.make_bucket(TAGS)
    account.s3.put_object(Bucket=BUCKET, Key="faces/a.png", Body=b"png")
    old = account.make_instance(TAGS)
    tags = [{"ResourceType": "elastic-ip", "Tags": TAGS}]
    address = account.ec2.allocate_address(Domain="vpc", TagSpecifications=tags)
    account.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=old)
    before = table(account.run("status", code=1))
    assert before["stack"] == "missing: ./just ec2 up makes it"
    said = account.run("up", "--allow", ALLOW, "--ami", AMI, "--yes")
    assert table(said)["bucket"] == table(said)["address"] == "keep"
    assert f"CLOUD_ADDRESS={address['PublicIp']}" in said
    after = account.ids()
    assert (after["bucket"], after["address"]) == ([BUCKET], [address["PublicIp"]])
    assert len(after["instance"]) == 1
    assert old not in after["instance"]
    state = table(account.run("status"))
    assert state["address"] == f"of {after['instance'][0]}; 8883 answers"
    account.run("down", "--yes")
    assert account.ids() == {**NOTHING, "bucket": [BUCKET]}


@pytest.mark.parametrize(
    ("call", "begun"), [("PutObject", "make archive"), ("CreateChangeSet", "make stack")]
)
def test_after_an_error_on_the_way_the_same_command_goes_on(
    account: Account, call: str, begun: str
) -> None:
    account.instead[call] = no("AccessDenied")
    said = account.run(*UP, code=1)
    assert re.search(rf"perhaps in part: {begun} \S+; the same command goes on", said)
    assert "ask for the right to Call, or set another AWS_PROFILE" in said
    assert account.ids()["instance"] == []
    account.instead.clear()
    account.run(*UP)
    account.run("status")


def test_a_change_set_that_was_never_executed_is_no_obstacle(account: Account) -> None:
    account.instead["ExecuteChangeSet"] = no("Throttling")
    account.run(*UP, code=1)
    (stack,) = account.stacks.describe_stacks()["Stacks"]
    assert stack["StackStatus"] == "REVIEW_IN_PROGRESS"
    account.instead.clear()
    assert "done: remove stack facebridge" in account.run(*UP)
    account.run("status")


@pytest.mark.parametrize(
    ("states", "done"),
    [
        (["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"], ""),
        (["UPDATE_ROLLBACK_FAILED", "UPDATE_ROLLBACK_COMPLETE"], "change stack"),
        (["ROLLBACK_COMPLETE"], "remove stack"),
        (["DELETE_FAILED"], "remove stack"),
    ],
)
def test_whatever_state_a_stack_was_left_in_the_same_command_goes_on(
    account: Account, states: list[str], done: str
) -> None:
    account.run(*UP)
    account.s3.put_object(Bucket=BUCKET, Key="faces/a.png", Body=b"png")
    account.instead["DescribeStacks"] = in_state(list(states))
    account.instead["ContinueUpdateRollback"] = lambda _: {}  # moto knows of none
    account.calls.clear()
    said = account.run(*UP)
    expected = [done] if done else []
    assert re.findall("done: ((?:change|remove) stack)", said) == expected
    assert ("no change" in said) == (done == "")
    assert table(said)["bucket"] == "keep"
    account.instead.clear()
    account.run("status")


def test_why_a_stack_failed_is_said(account: Account) -> None:
    def event(thing: str, status: str, reason: str) -> dict[str, str]:
        words = {"LogicalResourceId": thing, "ResourceStatus": status}
        return {**words, "ResourceStatusReason": reason}

    events = [
        event("Role", "CREATE_FAILED", "cancelled"),
        event("Address", "CREATE_FAILED", "too many"),
        event("facebridge", "CREATE_IN_PROGRESS", "User Initiated"),
        event("Bucket", "DELETE_FAILED", "before"),
    ]
    account.instead["DescribeStackEvents"] = lambda _: {"StackEvents": events}
    failed = in_state(["ROLLBACK_COMPLETE"])
    account.instead["DescribeStacks"] = lambda real: (
        failed(real) if "ExecuteChangeSet" in account.calls else real()
    )
    said = account.run(*UP, code=1)
    assert (
        "stack facebridge: Address: too many; done so far: nothing; perhaps in part: make" in said
    )


def in_state(states: list[str]) -> Callable[..., Any]:
    """A stack that is in these states, one after the other, before it is as it is."""

    def answer(real: Callable[[], Any]) -> Any:
        found = real()
        if states:
            found["Stacks"][0]["StackStatus"] = states.pop(0)
        return found

    return answer


def test_ctrl_c_after_a_call_does_not_doubt_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ec2, "print", interrupted, raising=False)
    progress = ec2.Progress()
    with pytest.raises(KeyboardInterrupt):
        progress.through([Row("instance", "i-1", "remove", lambda: None)])
    assert str(progress) == "done so far: remove instance i-1; the same command goes on"


@pytest.mark.parametrize("file", ["ca.crt", "processor/tls.crt", "cloud-broker/tls.key"])
def test_half_an_identity_is_refused_and_status_shows_the_rest(
    account: Account, tmp_path: Path, file: str
) -> None:
    account.pki = tmp_path / "pki"
    for name in ("cloud-broker", "processor"):
        Authority(account.pki).issue(name)
    account.run(*UP)
    (account.pki / file).unlink()
    missing = f"{account.pki / file} is missing: put it back"
    assert missing in account.run(*UP, code=1)
    said = account.run("status", code=1)
    assert table(said)["instance"].startswith("running")
    assert missing in said


def test_identities_of_an_older_version_are_brought_up_to_date(
    account: Account, tmp_path: Path
) -> None:
    account.pki = tmp_path / "pki"
    for name in ("cloud-broker", "processor"):
        Authority(account.pki).issue(name)
    account.run(*UP)
    for name in ("services.crt", "services.key", "cloud-broker/services.crt"):
        (account.pki / name).unlink()
    assert table(account.run(*UP, "--dry-run"))["identity"] == "bring up to date"
    said = account.run(*UP, "--replace")
    assert f"done: bring up to date identity {account.pki}/processor\n" in said
    assert table(account.run(*UP, "--dry-run"))["identity"] == "keep"


def unpacked(account: Account, folder: Path) -> dict[str, tarfile.TarInfo]:
    """What the newest instance does with what it is given: fetch, check, unpack."""
    script = account.script()
    url = re.search(r"'(http[^' \n]+)'", script)
    assert url
    with urllib.request.urlopen(url[1]) as answer:
        (folder / "archive.tar").write_bytes(answer.read())
    (line,) = re.findall(r"echo '([0-9a-f]{64}  archive\.tar)'", script)
    subprocess.run(["sha256sum", "-c", "-"], input=line, text=True, cwd=folder, check=True)
    with tarfile.open(folder / "archive.tar") as tar:
        entries = {entry.name: entry for entry in tar}
        files = [entry for entry in entries.values() if entry.isfile()]
        tar.extractall(folder, members=files, filter="data")
    (folder / "keys").mkdir()
    return entries


def copied(stage: str) -> Iterator[str]:
    """What the Dockerfile copies from the checkout into a stage and into those below it."""
    stages = re.split(r"(?m)^FROM ", (ROOT / "Dockerfile").read_text())[1:]
    (text,) = (one for one in stages if re.match(rf"\S+ AS {stage}$", one, re.MULTILINE))
    known = {name for one in stages for name in re.findall(r"^\S+ AS (\S+)", one)}
    for source in {text.split()[0], *re.findall(r"--from=(\S+)", text)} & known:
        yield from copied(source)
    for line in re.findall(r"(?m)^COPY (.*)", text):
        if "--from" not in line:
            yield from [word for word in line.split() if not word.startswith("--")][:-1]


def test_what_the_instance_gets_is_enough_and_not_more(account: Account, tmp_path: Path) -> None:
    account.run(*UP)
    script = account.script()
    assert "PRIVATE KEY" not in script
    assert len(script.encode()) < 16384
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    entries = unpacked(account, tmp_path)
    (version,) = re.findall(r"'([0-9a-f]{64})  archive", script)
    assert {"Key": "facebridge-version", "Value": version} in account.instances()[0]["Tags"]
    keys = {name for name in entries if name.endswith(".key")}
    assert keys == {"pki/cloud-broker/tls.key", "pki/processor/tls.key"}
    assert {(entries[key].mode, entries[key].uid) for key in keys} == {(0o400, 10001)}
    assert (entries["keys"].mode, entries["keys"].uid) == (0o500, 10001)
    modes = {entry.mode for entry in entries.values() if entry.isfile() and entry.uid == 0}
    assert modes == {0o644}
    for stage in ("broker", "processor"):
        for pattern in copied(stage):
            assert list(tmp_path.glob(pattern)), f"{stage} lacks {pattern}"
    settings = (tmp_path / "compose" / ".env").read_text().splitlines()
    assert settings == [
        f"BUCKET={BUCKET}",
        f"S3_REGION={REGION}",
        "PKI=../pki",
        "RUN_AS=10001:10001",
    ]
    named = re.findall(
        r"\$\{PKI:-\.\./pki\}(/[\w./-]+)", (tmp_path / "compose" / "cloud.yaml").read_text()
    )
    assert len(named) == 7
    assert "/access_rules" in named
    assert all(f"pki{place}" in entries for place in named)
    assert {"pki/access_rules/cloud.acl", "pki/access_rules/crl.pem"} < set(entries)


def test_compose_takes_what_the_instance_gets(account: Account, tmp_path: Path) -> None:
    if subprocess.run(["sh", "-c", "docker compose version"], capture_output=True).returncode:
        pytest.skip("NOT RUN: no docker compose")
    account.run(*UP)
    unpacked(account, tmp_path)
    files = ["-f", "compose/cloud.yaml", "-f", "compose/ec2.yaml"]
    assert " ".join(files) in (tmp_path / "deploy" / "instance.sh").read_text()
    command = ["docker", "compose", *files, "config", "--format", "json"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    config = json.loads(ran.stdout)
    processor = config["services"]["processor"]
    assert processor["environment"]["BUCKET"] == BUCKET
    assert config["services"]["cloud-broker"]["user"] == "10001:10001"
    for secret in config["secrets"].values():
        assert Path(secret["file"]).is_file()
        assert Path(secret["file"]).is_relative_to(tmp_path)
    (volume,) = processor["volumes"]
    assert (Path(volume["source"]), volume["target"]) == (tmp_path / "keys", "/keys")
    assert processor["environment"]["AWS_CONFIG_FILE"] == "/keys/config"
    (rules,) = config["services"]["cloud-broker"]["volumes"]
    assert Path(rules["source"]) == tmp_path / "pki" / "access_rules"
    assert (rules["target"], rules["read_only"]) == ("/access_rules", True)


def test_the_processor_gets_the_roles_keys_from_the_host(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.run(*UP)
    unpacked(account, tmp_path)
    env = os.environ | {"METADATA_SERVICE": account.url}
    subprocess.run(["sh", "deploy/instance.sh", "keys"], cwd=tmp_path, env=env, check=True)
    config = (tmp_path / "keys" / "config").read_text()
    assert "cat /keys/keys.json" in config
    here = tmp_path / "config"
    here.write_text(config.replace("/keys/", f"{tmp_path}/keys/"))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(here))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")  # as compose/cloud.yaml leaves it
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    credentials = boto3.session.Session().get_credentials()
    assert credentials.method == "custom-process"
    frozen = credentials.get_frozen_credentials()
    assert frozen.secret_key == "test-secret-key"
    assert frozen.token == "test-session-token"
    assert credentials.refresh_needed(refresh_in=2 * 86400)  # so it knows when they end
    # A metadata service that is away leaves what is there.
    env["METADATA_SERVICE"] = "http://127.0.0.1:1"
    assert subprocess.run(["sh", "deploy/instance.sh", "keys"], cwd=tmp_path, env=env).returncode
    assert json.loads((tmp_path / "keys" / "keys.json").read_text())["Version"] == 1


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    found, problems = decode(str(ROOT / "deploy" / "aws.yaml"))
    assert not problems
    return dict(found)


def test_the_template_is_one_for_cloudformation() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), "deploy/aws.yaml"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_the_bucket_outlives_the_stack_and_lets_nobody_overwrite_a_face(
    template: dict[str, Any],
) -> None:
    resources = template["Resources"]
    for name in ("Bucket", "BucketPolicy"):
        policies = (resources[name]["DeletionPolicy"], resources[name]["UpdateReplacePolicy"])
        assert policies == ("Retain", "Retain")
    bucket = resources["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    rules = bucket["LifecycleConfiguration"]["Rules"]
    expiring = {rule.get("Prefix"): rule.get("ExpirationInDays") for rule in rules}
    assert expiring == {"quarantine/": 90, "deploy/": 1, None: None}
    assert rules[2]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    document = resources["BucketPolicy"]["Properties"]["PolicyDocument"]
    tls, conditional = document["Statement"]
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert conditional["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert conditional["Resource"] == {"Fn::Sub": "${Bucket.Arn}/faces/*"}
    assert {one["Effect"] for one in (tls, conditional)} == {"Deny"}


def test_the_documented_commands_fit_the_template(template: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "aws.md").read_text()
    overrides = re.findall(r"--parameter-overrides((?:[^`]|\n)*?)\n(?:   )?```", page)
    assert len(overrides) == 2
    for text in overrides:
        names = re.findall(r"(\w+)=", text)
        assert names
        assert set(names) <= template["Parameters"].keys()
    required = {name for name, one in template["Parameters"].items() if "Default" not in one}
    assert required <= set(re.findall(r"(\w+)=", overrides[0]))
    text = (ROOT / "deploy" / "aws.yaml").read_text()
    for name in re.findall(r"`([A-Z][a-z]\w+)", page):
        assert name in text


def test_the_archive_can_be_made_without_the_rest(account: Account, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.archive", BUCKET, REGION, str(tmp_path / "a.tar")]
    ran = subprocess.run(
        [*command, "--pki", str(account.pki)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == Archive(account.pki, BUCKET, REGION).version
    assert (tmp_path / "a.tar").read_bytes() == Archive(account.pki, BUCKET, REGION).content


class Page(BaseHTTPRequestHandler):
    """A proxy's page in place of AWS."""

    answer = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.answer[0])
        self.end_headers()
        self.wfile.write(self.answer[1])

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize(
    "page", [b"", b"<!doctype html><p>Log in<br>", b"<!DOCTYPE html><html><p>Log in</p></html>"]
)
def test_a_page_in_place_of_aws_is_one_line(
    account: Account, monkeypatch: pytest.MonkeyPatch, status: int, page: bytes
) -> None:
    monkeypatch.setattr(Page, "answer", (status, page))
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        said = account.run("status", code=1, AWS_ENDPOINT_URL=url, AWS_MAX_ATTEMPTS="1")
        server.shutdown()
    assert "it may not be AWS that answers: check AWS_ENDPOINT_URL and HTTPS_PROXY" in said


OPENED = ["up", "--bucket", BUCKET, "--allow", ALLOW]


@pytest.mark.parametrize(
    ("words", "env", "line"),
    [
        (OPENED[:3], {}, "--allow"),
        ([*OPENED[:4], "203.0.113.300"], {}, "203.0.113.0/24"),
        ([*OPENED[:4], "203.0.113.7/24"], {}, "host bits set"),
        (["up", "--bucket", "My_Faces", "--allow", ALLOW], {}, "3 to 63 of a-z"),
        (["up", "--allow", ALLOW], {}, "--bucket NAME is missing"),
        (["up", "--allow", ALLOW, "--ssh", ALLOW], {}, "--ssh CIDR and --key NAME go together"),
        (OPENED, {}, "no SSM parameter /aws/service/canonical/ubuntu"),
        ([*UP, "--type", "t3.small"], {}, "is for arm64, and t3.small is not: name another with"),
        ([*UP, "--type", "t9.none"], {}, "AWS says no to DescribeInstanceTypes"),
        ([*UP, "--ssh", ALLOW, "--key", "none"], {}, "AWS says no to DescribeKeyPairs"),
        ([*UP, "--name", "No Name"], {}, "led by a letter"),
        (["status"], {"AWS_ACCESS_KEY_ID": ""}, "aws configure"),
        (["status"], {"AWS_DEFAULT_REGION": ""}, "which region?"),
        (["status"], {"AWS_ENDPOINT_URL": "foo"}, "Invalid endpoint: foo: check AWS_ENDPOINT_URL"),
        (["down"], {"AWS_ENDPOINT_URL": "closed"}, "check the network, --region and AWS_ENDPOINT"),
    ],
)
def test_bad_input_is_one_line(
    account: Account, words: list[str], env: dict[str, str], line: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    if env.get("AWS_ENDPOINT_URL") == "closed":
        env = {"AWS_ENDPOINT_URL": closed}
    assert line in account.run(*words, code=1, AWS_EC2_METADATA_DISABLED="true", **env)
    assert account.ids() == NOTHING
