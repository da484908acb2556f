"""./just ec2 against moto's server, which stands in for AWS; the tool has met no real account."""

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
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient, Config

from deploy import aws, ec2
from deploy.archive import Parcel
from identity.authority import Authority

ROOT = Path(__file__).resolve().parents[2]
REGION, ALLOW, BUCKET = "eu-central-1", "203.0.113.0/24", "my-faces"
# moto has no parameter of Canonical's and lets none be made below /aws, but it has Amazon Linux's.
AMI = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
UP = ("up", "--bucket", BUCKET, "--allow", ALLOW, "--ami", AMI, "--yes")
TAGS = [{"Key": "facebridge", "Value": "facebridge"}, {"Key": "Name", "Value": "facebridge"}]
SERVER = """
import os, sys
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket
from moto.server import ThreadedMotoServer
# moto cannot judge aws:SecureTransport and would deny all; so it denies while the file is there, and then nothing.
say = PermissionResult
FakeBucket.get_permission = lambda *_: say.DENIED if os.path.exists(sys.argv[1]) else say.NEUTRAL
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ec2")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    command, pipe = [sys.executable, "-c", SERVER, str(folder / "denied")], subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as moto:
        assert moto.stdout
        yield f"http://127.0.0.1:{int(moto.stdout.readline())}"
        moto.communicate()  # it ends when its input does


@cache
def clients(url: str, account: str = "") -> tuple[Any, Any, Any]:
    """Clients of the default account, or of another."""
    session = boto3.session.Session("test", "test", region_name=REGION)
    if account:
        session.events.register(
            "before-send",
            lambda request, **_: request.headers.update({"x-moto-account-id": account}),
        )
    config = Config(s3={"addressing_style": "path"})
    ec2, s3, iam = (
        session.client(name, endpoint_url=url, config=config) for name in ("ec2", "s3", "iam")
    )
    return ec2, s3, iam


class Account:
    """An empty AWS account, seen past the tool."""

    def __init__(self, url: str, pki: Path) -> None:
        urllib.request.urlopen(
            urllib.request.Request(f"{url}/moto-api/reset", method="POST")
        ).close()
        self.url, self.pki, self.broker = url, pki, True
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.ec2, self.s3, self.iam = clients(url)

    def run(self, *words: str, code: int = 0, **env: str) -> str:
        """What the tool prints; errors are one line."""
        pki = [] if words[0] == "down" else ["--pki", str(self.pki)]
        keys = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
        }
        keys |= {
            "AWS_CONFIG_FILE": "/none",
            "AWS_SHARED_CREDENTIALS_FILE": "/none",
            "AWS_ENDPOINT_URL": self.url,
        }
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            for name, value in {**keys, "COLUMNS": "200", **env}.items():
                patch.setenv(name, value) if value else patch.delenv(name, raising=False)
            patch.setattr(sys, "argv", ["ec2", *words, *pki])
            patch.setattr(sys, "stdin", io.StringIO())
            patch.setattr(aws, "answers", lambda _: self.broker)
            patch.setattr(BaseClient, "_make_api_call", self.noted)
            ended: Any = 0
            try:
                ec2.main()
            except SystemExit as end:
                ended = end.code
        if isinstance(ended, str):
            print(ended, file=err)
        assert int(not isinstance(ended, int) or ended) == code, out.getvalue() + err.getvalue()
        said = [line for line in err.getvalue().splitlines() if not line.startswith("done: ")]
        assert len(said) == (code and not (words[0] == "status" and out.getvalue())), err.getvalue()
        return out.getvalue() + err.getvalue()

    @property
    def noted(self) -> Callable[..., Any]:
        """A client's way to make a call, which notes it."""
        make = BaseClient._make_api_call

        def call(client: Any, name: str, words: dict[str, Any]) -> Any:
            self.calls.append((name, words))
            return make(client, name, words)

        return call

    def ids(self) -> dict[str, Any]:
        """What there is that anyone made."""
        instances = [
            one for few in self.ec2.describe_instances()["Reservations"] for one in few["Instances"]
        ]
        rules = self.ec2.describe_security_group_rules()["SecurityGroupRules"]
        return {
            "bucket": [one["Name"] for one in self.s3.list_buckets()["Buckets"]],
            "role": [one["RoleName"] for one in self.iam.list_roles()["Roles"]],
            "profile": [one["InstanceProfileName"] for one in self.iam.list_instance_profiles()["InstanceProfiles"]],
            "group": [one["GroupId"] for one in self.ec2.describe_security_groups()["SecurityGroups"]
                      if one["GroupName"] != "default"],
            "rule": [one["SecurityGroupRuleId"] for one in rules if not one["IsEgress"] and "CidrIpv4" in one],
            "instance": [one["InstanceId"] for one in instances if one["State"]["Name"] != "terminated"],
            "volume": [one["VolumeId"] for one in self.ec2.describe_volumes()["Volumes"]],
            "address": [one["PublicIp"] for one in self.ec2.describe_addresses()["Addresses"]],
        }  # fmt: skip

    def instance(self) -> dict[str, Any]:
        live = [{"Name": "instance-state-name", "Values": ["running"]}]
        (one,) = self.ec2.describe_instances(Filters=live)["Reservations"][0]["Instances"]
        return dict(one)

    def script(self) -> str:
        id = self.instance()["InstanceId"]
        answer = self.ec2.describe_instance_attribute(InstanceId=id, Attribute="userData")
        return base64.b64decode(answer["UserData"]["Value"]).decode()

    def put(self, key: str) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=b"png")


@pytest.fixture
def account(server: str, folder: Path) -> Account:
    return Account(server, folder / "pki")


def plan(text: str) -> dict[str, str]:
    """What a plan or a status says of each thing."""
    rows = [
        [cell.strip() for cell in line.split("│")[1:4]]
        for line in text.splitlines()
        if line.startswith("│")
    ]
    return {thing: what for thing, _, what in rows}


THINGS = ("bucket", "role", "profile", "group", "rule", "instance", "volume", "address")
NOTHING: dict[str, list[str]] = {thing: [] for thing in THINGS}


def test_a_dry_run_and_a_run_without_consent_make_nothing(account: Account, tmp_path: Path) -> None:
    account.pki = tmp_path / "pki"
    said = account.run(*UP, "--dry-run")
    assert plan(said) == {
        "identity": "make", "bucket": "make", "role": "make", "instance profile": "make", "archive": "make",
        "security group": f"make: 8883 from {ALLOW}", "instance": "make: t4g.small", "address": "make",
    }  # fmt: skip
    assert "there is no terminal to ask on: --yes goes on; nothing was changed" in account.run(
        *UP[:-1], code=1
    )
    assert "cost money at AWS" in said
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

    (place,) = (
        words["CreateBucketConfiguration"]
        for name, words in account.calls
        if name == "CreateBucket"
    )
    assert place == {"LocationConstraint": REGION, "Tags": TAGS}  # moto does not heed the tags
    s3, arn = account.s3, f"arn:aws:s3:::{BUCKET}"
    assert s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == TAGS
    assert set(
        s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values()
    ) == {True}
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    (sse,) = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert sse["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    (owner,) = s3.get_bucket_ownership_controls(Bucket=BUCKET)["OwnershipControls"]["Rules"]
    assert owner == {"ObjectOwnership": "BucketOwnerEnforced"}
    assert json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"] == [
        {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"],
         "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    ]  # fmt: skip
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    expiring = {rule["Filter"]["Prefix"]: rule["Expiration"].get("Days") for rule in rules}
    assert expiring == {"quarantine/": 90, "deploy/": 1, "": None}
    assert rules[2]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert rules[2]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}

    (role,) = made["role"]
    assert account.iam.get_role(RoleName=role)["Role"]["Tags"] == TAGS
    assert account.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    (policy,) = account.iam.list_role_policies(RoleName=role)["PolicyNames"]
    assert account.iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"],
         "Resource": [f"{arn}/faces/*", f"{arn}/quarantine/*"]},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn},
    ]  # fmt: skip
    profile = account.iam.get_instance_profile(InstanceProfileName=made["profile"][0])[
        "InstanceProfile"
    ]
    assert ([one["RoleName"] for one in profile["Roles"]], profile["Tags"]) == ([role], TAGS)

    (group,) = account.ec2.describe_security_groups(GroupIds=made["group"])["SecurityGroups"]
    (rule,) = group["IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 8883, 8883)
    assert [one["CidrIp"] for one in rule["IpRanges"]] == [ALLOW]
    assert (rule["Ipv6Ranges"], rule["UserIdGroupPairs"], group["Tags"]) == ([], [], TAGS)

    one = account.instance()
    assert one["MetadataOptions"]["HttpTokens"] == "required"
    assert one["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert one["IamInstanceProfile"]["Arn"] == profile["Arn"]
    assert [one["GroupId"] for one in one["SecurityGroups"]] == made["group"]
    assert all(tag in one["Tags"] for tag in TAGS)
    (volume,) = account.ec2.describe_volumes()["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (16, "gp3", True)
    (address,) = account.ec2.describe_addresses()["Addresses"]
    assert (address["InstanceId"], address["Tags"]) == (one["InstanceId"], TAGS)

    states = plan(account.run("status"))
    assert states["security group"] == f"8883 from {ALLOW}"
    assert states["instance"] == "running, t4g.small, runs this checkout"
    assert states["address"] == f"of {made['instance'][0]}; 8883 answers"
    account.broker = False
    said = account.run("status", code=1)
    assert plan(said)["address"].endswith("8883 does not answer")
    assert "/var/log/cloud-init-output.log" in said


def test_an_address_without_its_instance_is_not_well(account: Account) -> None:
    account.run(*UP)
    (id,) = account.ids()["instance"]
    account.ec2.terminate_instances(InstanceIds=[id])
    said = plan(account.run("status", code=1))
    assert said["address"].endswith("; up gives it to ours")
    assert said["instance"] == "missing: ./just ec2 up makes it"


def test_two_at_the_same_time_make_one_instance(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = account.ec2.describe_images()["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": TAGS}]

    def take(*_: Any) -> None:
        account.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)

    monkeypatch.setattr(aws.Bucket, "take", take)
    said = account.run(*UP, code=1)
    assert re.search(
        "another up has made i-.* meanwhile: wait for its end; done so far: .*the same command goes on",
        said,
    )
    assert len(account.ids()["instance"]) == 1


def test_a_token_stands_for_one_instance(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.ec2.create_key_pair(KeyName="mine")
    monkeypatch.setattr("deploy.aws.time.time", lambda: 1e9)
    account.run(*UP)
    account.run(*UP, "--replace", "--ssh", ALLOW, "--key", "mine")
    tokens = [words["ClientToken"] for name, words in account.calls if name == "RunInstances"]
    assert [len(token) for token in tokens] == [64, 64]
    assert tokens[0] != tokens[1]


def test_what_the_instance_gets_is_enough_and_not_more(account: Account, tmp_path: Path) -> None:
    account.run(*UP)
    script = account.script()
    assert "PRIVATE KEY" not in script
    assert len(script.encode()) < 16384
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    url = re.search(r"parcel\.tar '?(http[^' \n]+)", script)
    assert url
    with urllib.request.urlopen(url[1]) as answer:
        parcel = answer.read()
    (sha256,) = re.findall(r"'([0-9a-f]{64})  parcel\.tar'", script)
    assert {"Key": "facebridge-version", "Value": sha256} in account.instance()["Tags"]
    (tmp_path / "parcel.tar").write_bytes(parcel)
    subprocess.run(
        ["sha256sum", "-c", "-"],
        input=f"{sha256}  parcel.tar\n",
        text=True,
        cwd=tmp_path,
        check=True,
    )
    with tarfile.open(fileobj=io.BytesIO(parcel)) as tar:
        entries = {entry.name: entry for entry in tar}
        tar.extractall(tmp_path, members=[entry for entry in tar if entry.isfile()], filter="data")
    keys = {name for name in entries if name.endswith(".key")}
    assert keys == {"pki/cloud-broker/tls.key", "pki/processor/tls.key"}
    assert {(entries[key].mode, entries[key].uid) for key in keys} == {(0o400, 10001)}
    assert {entry.mode for entry in entries.values() if entry.isfile() and entry.uid == 0} == {
        0o644
    }
    for stage in ("broker", "processor"):
        for pattern in copied(stage):
            assert list(tmp_path.glob(pattern)), f"{stage} lacks {pattern}"
    settings = dict(
        line.split("=") for line in (tmp_path / "compose" / ".env").read_text().splitlines()
    )
    assert settings == {
        "BUCKET": BUCKET,
        "S3_REGION": REGION,
        "PKI": "../pki",
        "RUN_AS": "10001:10001",
    }
    named = re.findall(
        r"\$\{PKI:-\.\./pki\}(/[\w./-]+)", (tmp_path / "compose" / "cloud.yaml").read_text()
    )
    assert len(named) == 5
    assert all((tmp_path / f"pki{file}").is_file() for file in named)


def copied(stage: str) -> Iterator[str]:
    """What the Dockerfile copies from the checkout into a stage and into those that it is made from."""
    stages = re.split(r"(?m)^FROM ", (ROOT / "Dockerfile").read_text())[1:]
    (text,) = (one for one in stages if re.match(rf"\S+ AS {stage}$", one, re.MULTILINE))
    known = {name for one in stages for name in re.findall(r"^\S+ AS (\S+)", one)}
    for source in {text.split()[0], *re.findall(r"--from=(\S+)", text)} & known:
        yield from copied(source)
    for line in re.findall(r"(?m)^COPY (.*)", text):
        if "--from" not in line:
            yield from [word for word in line.split() if not word.startswith("--")][:-1]


def test_compose_takes_the_parcel(account: Account, tmp_path: Path) -> None:
    if subprocess.run(["sh", "-c", "docker compose version"], capture_output=True).returncode:
        pytest.skip("NOT RUN: no docker compose")
    account.run(*UP)
    with tarfile.open(fileobj=io.BytesIO(Parcel(account.pki, BUCKET, REGION).content)) as tar:
        tar.extractall(tmp_path, members=[entry for entry in tar if entry.isfile()], filter="data")
    command = ["docker", "compose", "-f", "compose/cloud.yaml", "config", "--format", "json"]
    config = json.loads(
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    )
    assert config["services"]["processor"]["environment"]["BUCKET"] == BUCKET
    assert config["services"]["cloud-broker"]["user"] == "10001:10001"
    for secret in config["secrets"].values():
        assert Path(secret["file"]).is_file()
        assert Path(secret["file"]).is_relative_to(tmp_path)


def test_a_second_time_changes_nothing(account: Account) -> None:
    account.run(*UP)
    before = account.ids(), account.script()
    said = account.run(
        "up", "--allow", ALLOW, "--ami", AMI
    )  # the bucket is found, and there is nothing to agree to
    assert set(plan(said).values()) == {"keep"}
    assert "no change" in said
    assert (account.ids(), account.script()) == before


def test_what_has_changed_is_changed_and_no_more(account: Account) -> None:
    account.run(*UP)
    before = account.ids()
    account.s3.delete_public_access_block(Bucket=BUCKET)
    account.ec2.authorize_security_group_ingress(
        GroupId=before["group"][0], IpProtocol="tcp", FromPort=22, ToPort=23, CidrIp="0.0.0.0/0"
    )
    assert (
        plan(account.run("status", code=1))["bucket"]
        == "set otherwise: public_access_block; up mends it"
    )
    steps = plan(account.run("up", "--allow", "198.51.100.7", "--allow", ALLOW, "--yes"))
    assert {thing: step for thing, step in steps.items() if step != "keep"} == {
        "bucket": "change: public_access_block",
        "security group": "change: + 8883 from 198.51.100.7/32 - a rule of no such kind",
    }
    account.run("up", "--allow", "198.51.100.7", "--yes")
    after = account.ids()
    rules = account.ec2.describe_security_group_rules()["SecurityGroupRules"]
    assert [one["CidrIpv4"] for one in rules if one["SecurityGroupRuleId"] in after["rule"]] == [
        "198.51.100.7/32"
    ]
    assert {**after, "rule": []} == {**before, "rule": []}


def test_ssh_opens_for_whom_it_is_asked_and_closes_again(account: Account) -> None:
    account.ec2.create_key_pair(KeyName="mine")
    account.run(*UP, "--ssh", "192.0.2.1/32", "--key", "mine")
    assert (
        plan(account.run("status"))["security group"] == f"22 from 192.0.2.1/32, 8883 from {ALLOW}"
    )
    assert account.instance()["KeyName"] == "mine"
    account.run(*UP)
    closed = f"8883 from {ALLOW}"
    assert plan(account.run("status"))["security group"] == closed
    account.ec2.create_key_pair(KeyName="another")
    for words, line in [
        (["--ssh", ALLOW, "--key", "none"], "AWS says no to DescribeKeyPairs"),
        (["--ssh", ALLOW, "--key", "another"], "lacks the key another: --replace, or leave"),
        (["--type", "t4g.frob"], "AWS says no to DescribeInstanceTypes"),
    ]:
        assert line in account.run(*UP, *words, code=1)
    assert plan(account.run("status"))["security group"] == closed


def test_an_older_instance_is_replaced_only_when_asked(account: Account, tmp_path: Path) -> None:
    account.run(*UP)
    before = account.ids()
    account.pki = tmp_path / "pki"
    for name in ("cloud-broker", "processor"):
        Authority(account.pki).issue(name)
    assert plan(account.run("status"))["instance"].endswith("runs something older")
    older = "it runs something older than this checkout: --replace makes another"
    assert plan(account.run(*UP))["instance"] == f"keep; {older}"
    assert account.ids() == before
    account.run(*UP, "--replace")
    after = account.ids()
    assert after["instance"] != before["instance"]
    assert len(after["instance"]) == 1
    assert after["address"] == before["address"]
    assert account.ec2.describe_addresses()["Addresses"][0]["InstanceId"] == after["instance"][0]
    assert plan(account.run("status"))["instance"].endswith("runs this checkout")


def test_down_leaves_nothing_but_what_is_not_ours(account: Account) -> None:
    vpc = account.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = account.ec2.create_security_group(GroupName="theirs", Description="-", VpcId=vpc)[
        "GroupId"
    ]
    image = account.ec2.describe_images()["Images"][0]["ImageId"]
    account.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SecurityGroupIds=[group])
    account.s3.create_bucket(
        Bucket="theirs", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    account.iam.create_role(RoleName="theirs", AssumeRolePolicyDocument="{}")
    account.ec2.allocate_address(Domain="vpc")
    before = account.ids()
    account.run(*UP)
    assert account.ids() != before
    account.run(
        "up", "--name", "other", "--bucket", "others-faces", "--allow", ALLOW, "--ami", AMI, "--yes"
    )
    account.run("down", "--name", "other", "--yes")
    assert plan(account.run("status"))["instance"].startswith("running")
    assert plan(account.run("down", "--dry-run"))["bucket"] == "remove: no face"
    account.run("down", "--yes")
    assert account.ids() == before
    assert "nothing of facebridge in eu-central-1" in account.run("down", "--yes")


def test_faces_stay_unless_told_otherwise(account: Account) -> None:
    account.run(*UP)
    for key in (
        "faces/edge-07/door/a.png",
        "faces/edge-07/door/b.png",
        "quarantine/edge-07/door/c.bin",
    ):
        account.put(key)
    account.s3.delete_object(
        Bucket=BUCKET, Key="faces/edge-07/door/b.png"
    )  # a version is left of it
    kept = (
        "keep: 2 in faces/, 1 in quarantine/, with all versions; --delete-faces removes it and them"
    )
    assert plan(account.run("down", "--yes"))["bucket"] == kept
    assert account.ids() == {**NOTHING, "bucket": [BUCKET]}
    versions = account.s3.list_object_versions(Bucket=BUCKET)
    assert len(versions["Versions"]) == 3  # the archive has gone
    assert plan(account.run(*UP))["bucket"] == "keep"
    assert (
        plan(account.run("down", "--yes", "--delete-faces"))["bucket"]
        == "remove: 2 in faces/, 1 in quarantine/"
    )
    assert account.ids() == NOTHING


def test_what_bears_our_name_but_not_our_tag_is_refused(account: Account) -> None:
    account.s3.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    refused = "is there without the tag facebridge=facebridge, so it is left alone: use another name; nothing was changed"
    assert f"bucket {BUCKET} {refused}" in account.run(*UP, code=1)
    account.s3.delete_bucket(Bucket=BUCKET)
    account.iam.create_role(RoleName="facebridge-eu-central-1", AssumeRolePolicyDocument="{}")
    assert f"role facebridge-eu-central-1 {refused}" in account.run(*UP, code=1)
    assert account.ids() == {**NOTHING, "role": ["facebridge-eu-central-1"]}


def test_a_bucket_of_another_account_is_refused(account: Account) -> None:
    place = {"LocationConstraint": REGION}
    clients(account.url, "2" * 12)[1].create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
    said = account.run(*UP, code=1)  # moto lets us look at it, AWS would say 403
    assert f"bucket {BUCKET} is there without the tag" in said
    assert account.ids() == NOTHING


def test_an_error_on_the_way_says_how_far_it_came_and_the_same_command_goes_on(
    account: Account, folder: Path
) -> None:
    (folder / "denied").touch()
    said = account.run(*UP, code=1)
    (folder / "denied").unlink()
    assert "AWS says no to PutObject" in said
    assert re.search(
        r"done so far: .*make security group sg-\w+; perhaps in part: make archive \S+; the same command goes on",
        said,
    )
    before = account.ids()
    assert (len(before["bucket"]), before["instance"], before["address"]) == (1, [], [])
    assert plan(account.run("status", code=1))["instance"] == "missing: ./just ec2 up makes it"
    account.run(*UP)
    after = account.ids()
    assert {**after, "instance": [], "volume": [], "address": []} == before
    account.run("status")


def test_ctrl_c_after_a_call_does_not_doubt_it(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ec2, "print", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt), raising=False
    )
    progress = ec2.Progress()
    with pytest.raises(KeyboardInterrupt):
        progress.through([aws.Row("instance", "i-1", "remove", lambda: None)])
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
    assert f"{account.pki / file} is missing: put it back" in account.run(*UP, code=1)
    said = account.run("status", code=1, COLUMNS="300")
    assert plan(said)["instance"].startswith("running")
    assert f"{account.pki / file} is missing: put it back" in said


@pytest.mark.parametrize("shape", [{"Filter": {"Prefix": ""}}, {"Filter": {}}, {"Prefix": ""}, {}])
def test_a_lifecycle_rule_for_all_has_many_shapes(shape: dict[str, Any]) -> None:
    assert aws.within({"Filter": {"Prefix": ""}}, shape)
    assert not aws.within({"Filter": {"Prefix": "deploy/"}}, shape)


@pytest.mark.parametrize(
    "shape",
    [{"Filter": {"Prefix": "deploy/"}}, {"Prefix": "deploy/"}, {"Filter": {}, "Prefix": "deploy/"}],
)
def test_a_lifecycle_rule_for_a_folder_is_not_for_all(shape: dict[str, Any]) -> None:
    assert aws.within({"Filter": {"Prefix": "deploy/"}}, shape)
    assert not aws.within({"Filter": {"Prefix": ""}}, shape)
    assert not aws.within(
        {"Filter": {"Prefix": ""}}, {"Filter": {"Tag": {"Key": "a", "Value": "b"}}}
    )


class Page(BaseHTTPRequestHandler):
    """A proxy's page in place of AWS."""

    answer = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.answer[0])
        self.end_headers()
        self.wfile.write(self.answer[1])

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


@pytest.mark.parametrize(
    ("words", "env", "line"),
    [
        (["up", "--bucket", BUCKET], {}, "--allow"),
        (["up", "--bucket", BUCKET, "--allow", "203.0.113.300"], {}, "203.0.113.0/24"),
        (["up", "--bucket", BUCKET, "--allow", "203.0.113.7/24"], {}, "host bits set"),
        (["up", "--bucket", "My_Faces", "--allow", ALLOW], {}, "3 to 63 of a-z"),
        (["up", "--allow", ALLOW], {}, "--bucket NAME is missing"),
        (["up", "--allow", ALLOW, "--ssh", ALLOW], {}, "--ssh CIDR and --key NAME go together"),
        (
            ["up", "--bucket", BUCKET, "--allow", ALLOW],
            {},
            "no SSM parameter /aws/service/canonical/ubuntu",
        ),
        (
            [*UP, "--type", "t3.small"],
            {},
            "is for arm64, and t3.small is not: name another with --ami",
        ),
        ([*UP, "--type", "t9.none"], {}, "AWS says no to DescribeInstanceTypes"),
        ([*UP, "--ssh", ALLOW, "--key", "none"], {}, "AWS says no to DescribeKeyPairs"),
        ([*UP, "--name", "No Name"], {}, "led by a letter"),
        (
            ["status"],
            {"AWS_ACCESS_KEY_ID": "", "AWS_EC2_METADATA_DISABLED": "true"},
            "aws configure",
        ),
        (["status"], {"AWS_DEFAULT_REGION": ""}, "which region?"),
        (["status"], {"AWS_ENDPOINT_URL": "foo"}, "Invalid endpoint: foo: check AWS_ENDPOINT_URL"),
        (
            ["down", "--yes"],
            {"AWS_ENDPOINT_URL": "closed"},
            "check the network, --region and AWS_ENDPOINT_URL",
        ),
    ],
)
def test_bad_input_is_one_line(
    account: Account, words: list[str], env: dict[str, str], line: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    said = account.run(
        *words,
        code=1,
        **{name: closed if value == "closed" else value for name, value in env.items()},
    )
    assert line in said
    assert account.ids() == NOTHING
