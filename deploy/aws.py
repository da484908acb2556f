"""What the cloud half is made of at AWS: bucket, role, security group, instance, address. Each finds its own by tag.

Every part says what `up` and `down` would do with it, as rows of a plan, and how it is now.
"""

import hashlib
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from deploy.archive import Parcel

TAG, VERSION = "facebridge", "facebridge-version"
PORT = 8883
TYPE, DISK = "t4g.small", 16  # GB
UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{}/hvm/ebs-gp3/ami-id"
LIVE = ("pending", "running", "stopping", "stopped")
SILENT = "does not answer"
WRITTEN, PARCELS = ("faces/", "quarantine/"), "deploy/"

Rule = tuple[int, str]  # a port, and the network that may reach it


class AwsError(Exception):
    """It cannot be done; the text says why and what to do."""


@dataclass(frozen=True)
class Row:
    """A thing, what becomes of it or how it is, the call for that (which returns a new id), and whether all is well."""

    thing: str
    id: str
    what: str
    call: Callable[[], object] | None = None
    well: bool = True


class Aws:
    """One region of an account, and the tag by which this tool knows its own."""

    def __init__(self, name: str, region: str | None) -> None:
        # A signed URL must name the region: S3 redirects others at first, and a redirect spoils the signature.
        style = "path" if os.environ.get("AWS_ENDPOINT_URL") else "virtual"
        config = Config(connect_timeout=5, retries={"mode": "standard"})
        signed = config.merge(Config(signature_version="s3v4", s3={"addressing_style": style}))
        session: Any = boto3.session.Session(region_name=region)
        try:
            self.ec2, self.iam, self.ssm = (
                session.client(name, config=config) for name in ("ec2", "iam", "ssm")
            )
            self.s3 = session.client("s3", config=signed)
        except ValueError as error:
            raise AwsError(
                f"{error}: check AWS_ENDPOINT_URL (https://...) and --region, or leave them out"
            ) from error
        self.name, self.region = name, str(session.region_name)
        self.label = f"{name}-{self.region}"  # for IAM, which knows no regions
        self.partition = session.get_partition_for_region(self.region)
        self.tags = [{"Key": TAG, "Value": name}, {"Key": "Name", "Value": name}]

    def tagged(self, *kinds: str) -> list[dict[str, Any]]:
        """What makes an EC2 call tag the things that it makes."""
        return [{"ResourceType": kind, "Tags": self.tags} for kind in kinds]

    def listed(self, things: str, key: str, **filters: str | list[str]) -> list[dict[str, Any]]:
        """What EC2 has of these things, whole, in as many pages as it takes."""
        call = f"describe_{things}"
        chosen = [{"Name": name.replace("_", "-"), "Values": [value] if isinstance(value, str) else value}
                  for name, value in filters.items()]  # fmt: skip
        if not self.ec2.can_paginate(call):
            return list(getattr(self.ec2, call)(Filters=chosen)[key])
        return [
            one
            for page in self.ec2.get_paginator(call).paginate(Filters=chosen)
            for one in page[key]
        ]

    def ours(self, things: str, key: str, **filters: str | list[str]) -> list[dict[str, Any]]:
        """The same, with our tag."""
        return self.listed(things, key, **{f"tag:{TAG}": self.name}, **filters)

    def bears(self, tags: list[dict[str, str]]) -> bool:
        """Whether these tags make a thing ours."""
        return self.tags[0] in tags

    def foreign(self, thing: str, name: str) -> AwsError:
        """The refusal to touch a thing that has our name without our tag."""
        without = f"without the tag {TAG}={self.name}"
        return AwsError(f"{thing} {name} is there {without}, so it is left alone: use another name")


class Bucket:
    """Private and versioned: faces for ever, bad messages for 90 days, what an instance is given for one day."""

    def __init__(self, aws: Aws, wanted: str | None = None) -> None:
        self._aws, self._s3 = aws, aws.s3
        pages = [*aws.s3.get_paginator("list_buckets").paginate(BucketRegion=aws.region)]
        if pages[0].keys() == {"ResponseMetadata"}:  # S3 names the owner at least
            raise ResponseParserError("no list of buckets")
        names = [one["Name"] for page in pages for one in page.get("Buckets", ())]
        with ThreadPoolExecutor(8) as pool:
            mine = [
                name for name, ours in zip(names, pool.map(self._ours, names), strict=True) if ours
            ]
        if len(mine) > 1:
            raise AwsError(
                f"{' and '.join(mine)} both have the tag {TAG}={aws.name}: take it off one of them"
            )
        if mine and wanted not in (None, *mine):
            raise AwsError(
                f"{aws.name} has the bucket {mine[0]}: leave --bucket out, or use another --name"
            )
        self.there, self.name = bool(mine), mine[0] if mine else wanted or ""
        if self.name and not mine:
            self._must_be_free()

    def _ours(self, name: str) -> bool:
        try:
            return self._aws.bears(self._s3.get_bucket_tagging(Bucket=name)["TagSet"])
        except ClientError:
            return False  # it has no tags, or none for us to see

    def _must_be_free(self) -> None:
        try:
            if found(self._s3.head_bucket, Bucket=self.name):
                raise self._aws.foreign("bucket", self.name)
        except ClientError as error:
            raise AwsError(
                f"bucket {self.name}: somebody else's, or closed to you: use another name"
            ) from error

    def _settings(self) -> dict[str, tuple[str, Any]]:
        """What is set by which put_ call, as which of its arguments."""
        arn = f"arn:{self._aws.partition}:s3:::{self.name}"
        walls = (
            "BlockPublicAcls",
            "BlockPublicPolicy",
            "IgnorePublicAcls",
            "RestrictPublicBuckets",
        )
        sse = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        plain = {"Bool": {"aws:SecureTransport": "false"}}
        tls = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": plain,
        }
        rules: list[dict[str, Any]] = [
            {"ID": "quarantine", "Filter": {"Prefix": WRITTEN[1]}, "Expiration": {"Days": 90}},
            {"ID": "deploy", "Filter": {"Prefix": PARCELS}, "Expiration": {"Days": 1},
             "NoncurrentVersionExpiration": {"NoncurrentDays": 1}},
            {"ID": "all", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True},
             "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
             "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
        ]  # fmt: skip
        lifecycle = {"Rules": [{"Status": "Enabled", **rule} for rule in rules]}
        return {
            "public_access_block": ("PublicAccessBlockConfiguration", dict.fromkeys(walls, True)),
            "bucket_ownership_controls": (
                "OwnershipControls",
                {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            ),
            "bucket_versioning": ("VersioningConfiguration", {"Status": "Enabled"}),
            "bucket_encryption": ("ServerSideEncryptionConfiguration", {"Rules": [sse]}),
            "bucket_policy": ("Policy", json.dumps({"Version": "2012-10-17", "Statement": [tls]})),
            "bucket_lifecycle_configuration": ("LifecycleConfiguration", lifecycle),
        }

    def _differing(self) -> list[str]:
        """The settings that are not as they should be."""

        def right(setting: str, argument: str, value: Any) -> bool:
            answer = found(getattr(self._s3, f"get_{setting}"), Bucket=self.name) or {}
            return within(value, answer.get(argument, answer))

        return [
            setting for setting, words in self._settings().items() if not right(setting, *words)
        ]

    def up(self) -> list[Row]:
        """Make it, or mend what was set otherwise."""
        if not self.name:
            raise AwsError(
                "--bucket NAME is missing: the first up makes it, with a name that nobody in the world has"
            )
        if not self.there:
            return [Row("bucket", self.name, "make", self._make)]
        if differing := self._differing():
            return [
                Row(
                    "bucket",
                    self.name,
                    f"change: {', '.join(differing)}",
                    partial(self._set, differing),
                )
            ]
        return [Row("bucket", self.name, "keep")]

    def _make(self) -> None:
        place = {} if self._aws.region == "us-east-1" else {"LocationConstraint": self._aws.region}
        # Tagged as it is made, so that it is never ours without the tag; again for a server that knows only this way.
        self._s3.create_bucket(
            Bucket=self.name, CreateBucketConfiguration={**place, "Tags": self._aws.tags}
        )
        self._s3.put_bucket_tagging(Bucket=self.name, Tagging={"TagSet": self._aws.tags})
        self._set([*self._settings()])

    def _set(self, settings: list[str]) -> None:
        for setting in settings:
            argument, value = self._settings()[setting]
            getattr(self._s3, f"put_{setting}")(Bucket=self.name, **{argument: value})

    def take(self, parcel: Parcel) -> str:
        """Hold what an instance is to be given, and say under which key."""
        key = f"{PARCELS}{parcel.version}.tar"
        self._s3.put_object(Bucket=self.name, Key=key, Body=parcel.content)
        return key

    def url(self, parcel: Parcel) -> str:
        """Where the instance gets it within the hour, so that its role needs no right to read it."""
        place = {"Bucket": self.name, "Key": f"{PARCELS}{parcel.version}.tar"}
        return str(self._s3.generate_presigned_url("get_object", Params=place, ExpiresIn=3600))

    def down(self, delete_faces: bool) -> list[Row]:
        """Remove it if it holds nothing but what `up` put there, or if the rest may go too."""
        if not self.there:
            return []
        page = self._s3.list_object_versions(
            Bucket=self.name
        )  # its first thousand are enough to know
        keys = [one["Key"] for one in page.get("Versions", ())]
        held = Counter(key.partition("/")[0] for key in keys if not key.startswith(PARCELS))
        least = "at least " if page["IsTruncated"] else ""
        what = (
            ", ".join(f"{least}{count} in {folder}/" for folder, count in held.items())
            or f"{least}no face"
        )
        if delete_faces or not (held or least):
            return [
                Row(
                    "bucket",
                    self.name,
                    f"remove: {what}",
                    partial(self._remove, "" if delete_faces else PARCELS),
                )
            ]
        kept = Row(
            "bucket",
            self.name,
            f"keep: {what}, with all versions; --delete-faces removes it and them",
        )
        there = any(key.startswith(PARCELS) for key in keys)
        return [
            *there * [Row("archives", f"{PARCELS}*", "remove", partial(self._clear, PARCELS))],
            kept,
        ]

    def _remove(self, prefix: str) -> None:
        self._clear(prefix)
        self._clear("", "DeleteMarkers")
        self._s3.delete_bucket(Bucket=self.name)  # which S3 refuses if a face came in meanwhile
        self._s3.get_waiter("bucket_not_exists").wait(Bucket=self.name)

    def _clear(self, prefix: str, *kinds: str) -> None:
        pages = self._s3.get_paginator("list_object_versions").paginate(
            Bucket=self.name, Prefix=prefix
        )
        for page in pages:  # of a thousand at most, which is what one call may delete
            things = [
                one for kind in kinds or ("Versions", "DeleteMarkers") for one in page.get(kind, ())
            ]
            if things:
                batch = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in things]
                answer = self._s3.delete_objects(
                    Bucket=self.name, Delete={"Objects": batch, "Quiet": True}
                )
                for error in answer.get("Errors", ()):
                    raise AwsError(
                        f"bucket {self.name}: {error['Key']} does not go: {error.get('Message', '')}"
                    )

    def status(self) -> list[Row]:
        """Whether it is there, and as it should be."""
        differing = self._differing() if self.there else []
        what = f"set otherwise: {', '.join(differing)}; up mends it" if differing else "there"
        return [Row("bucket", self.name, what, well=not differing)] if self.there else []


class Role:
    """What the instance may do, which is what the processor needs; and the profile that gives it to an instance."""

    def __init__(self, aws: Aws, bucket: Bucket) -> None:
        self._aws, self._iam, self._bucket, self.name = aws, aws.iam, bucket, aws.label
        role = found(aws.iam.get_role, RoleName=self.name)
        profile = found(aws.iam.get_instance_profile, InstanceProfileName=self.name)
        both = [
            ("role", role and role["Role"]),
            ("instance profile", profile and profile["InstanceProfile"]),
        ]
        self._all = {thing: one for thing, one in both if one and aws.bears(one.get("Tags", []))}
        self._foreign = [thing for thing, one in both if one and thing not in self._all]

    def _policy(self) -> dict[str, Any]:
        arn = f"arn:{self._aws.partition}:s3:::{self._bucket.name}"
        places = [f"{arn}/{prefix}*" for prefix in WRITTEN]
        # HeadObject is no right of its own: GetObject gives it.
        objects = {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:GetObject"],
            "Resource": places,
        }
        listing = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn}
        return {"Version": "2012-10-17", "Statement": [objects, listing]}

    def _right(self, thing: str) -> bool:
        if thing == "instance profile":
            return bool(self._all[thing]["Roles"])
        written = found(self._iam.get_role_policy, RoleName=self.name, PolicyName=TAG)
        return bool(written) and within(self._policy(), written["PolicyDocument"])

    def up(self) -> list[Row]:
        """Make them, or mend what was set otherwise."""
        for thing in self._foreign:
            raise self._aws.foreign(thing, self.name)
        role, profile = Row("role", self.name, "keep"), Row("instance profile", self.name, "keep")
        if "role" not in self._all:
            role = replace(role, what="make", call=self._make_role)
        elif not self._right(role.thing):
            role = replace(role, what="change: its policy", call=self._write)
        if "instance profile" not in self._all:
            profile = replace(profile, what="make", call=self._make_profile)
        elif not self._right(profile.thing):
            profile = replace(profile, what="change: its role", call=self._join)
        return [role, profile]

    def _make_role(self) -> None:
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        self._iam.create_role(
            RoleName=self.name, AssumeRolePolicyDocument=document, Tags=self._aws.tags
        )
        self._iam.get_waiter("role_exists").wait(RoleName=self.name)
        self._write()

    def _write(self) -> None:
        self._iam.put_role_policy(
            RoleName=self.name, PolicyName=TAG, PolicyDocument=json.dumps(self._policy())
        )

    def _make_profile(self) -> None:
        self._iam.create_instance_profile(InstanceProfileName=self.name, Tags=self._aws.tags)
        self._iam.get_waiter("instance_profile_exists").wait(InstanceProfileName=self.name)
        self._join()

    def _join(self) -> None:
        self._iam.add_role_to_instance_profile(InstanceProfileName=self.name, RoleName=self.name)

    def down(self) -> list[Row]:
        """Remove the profile, then the role."""
        removal = {"instance profile": self._remove_profile, "role": self._remove_role}
        return [
            Row(thing, self.name, "remove", call)
            for thing, call in removal.items()
            if thing in self._all
        ]

    def _remove_profile(self) -> None:
        for role in self._all["instance profile"]["Roles"]:
            self._iam.remove_role_from_instance_profile(
                InstanceProfileName=self.name, RoleName=role["RoleName"]
            )
        self._iam.delete_instance_profile(InstanceProfileName=self.name)

    def _remove_role(self) -> None:
        found(self._iam.delete_role_policy, RoleName=self.name, PolicyName=TAG)
        self._iam.delete_role(RoleName=self.name)

    def status(self) -> list[Row]:
        """Whether they are there, and as they should be."""
        right = {thing: self._right(thing) for thing in self._all}
        words = {True: "there", False: "set otherwise; up mends it"}
        return [Row(thing, self.name, words[well], well=well) for thing, well in right.items()]


class Group:
    """The security group: in comes 8883 from the networks that are named, and ssh if asked for; nothing else."""

    def __init__(self, aws: Aws) -> None:
        self._aws, self._ec2 = aws, aws.ec2
        self._all = [group["GroupId"] for group in aws.ours("security_groups", "SecurityGroups")]
        self.id = self._all[0] if self._all else "-"

    def _rules(self, group: str) -> dict[str, Rule | None]:
        """By its id, whom each rule lets in where; None for a rule of a kind that is not ours."""
        rules: dict[str, Rule | None] = {}
        for rule in self._aws.listed("security_group_rules", "SecurityGroupRules", group_id=group):
            if not rule["IsEgress"]:
                plain = (
                    rule["IpProtocol"] == "tcp"
                    and rule["FromPort"] == rule["ToPort"]
                    and "CidrIpv4" in rule
                )
                rules[rule["SecurityGroupRuleId"]] = (
                    (rule["FromPort"], rule["CidrIpv4"]) if plain else None
                )
        return rules

    def up(self, wanted: set[Rule]) -> list[Row]:
        """Make it in the default VPC, or let in whom it should now and no other."""
        if self.id == "-":
            vpcs = self._aws.listed("vpcs", "Vpcs", is_default="true")
            if not vpcs:
                raise AwsError(
                    f"{self._aws.region} has no default VPC: aws ec2 create-default-vpc, or --region"
                )
            vpc, name = vpcs[0]["VpcId"], self._aws.name
            if self._aws.listed("security_groups", "SecurityGroups", vpc_id=vpc, group_name=name):
                raise self._aws.foreign("security group", name)
            return [
                Row(
                    "security group",
                    "-",
                    f"make: {_inlets(wanted)}",
                    partial(self._make, vpc, wanted),
                )
            ]
        rules = self._rules(self.id)
        add, revoke = (
            wanted - set(rules.values()),
            [one for one, rule in rules.items() if rule not in wanted],
        )
        changes = [f"+ {_inlets(add)}"] * bool(add)
        changes += [f"- {_inlets([rules[one] for one in revoke])}"] * bool(revoke)
        if changes:
            call = partial(self._change, add, revoke)
            return [Row("security group", self.id, f"change: {' '.join(changes)}", call)]
        return [Row("security group", self.id, "keep")]

    def _make(self, vpc: str, wanted: set[Rule]) -> str:
        words = {
            "Description": "Facebridge: 8883 for edges",
            "TagSpecifications": self._aws.tagged("security-group"),
        }
        self.id = self._ec2.create_security_group(GroupName=self._aws.name, VpcId=vpc, **words)[
            "GroupId"
        ]
        self._ec2.get_waiter("security_group_exists").wait(GroupIds=[self.id])
        self._change(wanted, [])
        return str(self.id)

    def _change(self, add: set[Rule], revoke: list[str]) -> None:
        if add:  # before the others go, so that no edge is locked out for a moment
            rules = [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr}]}
                     for port, cidr in sorted(add)]  # fmt: skip
            tags = self._aws.tagged("security-group-rule")
            self._ec2.authorize_security_group_ingress(
                GroupId=self.id, IpPermissions=rules, TagSpecifications=tags
            )
        if revoke:
            self._ec2.revoke_security_group_ingress(GroupId=self.id, SecurityGroupRuleIds=revoke)

    def down(self) -> list[Row]:
        """Remove it, which EC2 allows some seconds after its instance is gone."""
        remove = partial(patiently, "DependencyViolation", self._ec2.delete_security_group)
        return [
            Row("security group", group, "remove", partial(remove, GroupId=group))
            for group in self._all
        ]

    def status(self) -> list[Row]:
        """It, and what it lets in."""
        return [
            Row("security group", group, _inlets(self._rules(group).values()))
            for group in self._all
        ]


@dataclass(frozen=True)
class Order:
    """What is wanted of an instance; None stands for what there is, or for the usual. `pack` makes what it is given."""

    type: str | None
    ami: str | None
    key: str | None
    replace: bool
    version: str | None
    pack: Callable[[], Parcel]


class Instance:
    """The machine: nothing on it needs to outlive it, for brokers are soft state and faces are in the bucket."""

    def __init__(self, aws: Aws, bucket: Bucket, role: Role, group: Group) -> None:
        self._aws, self._ec2, self._bucket, self._role, self._group = (
            aws,
            aws.ec2,
            bucket,
            role,
            group,
        )
        self._all = self._found("shutting-down", *LIVE)
        self._live = next((one for one in self._all if one["State"]["Name"] in LIVE), None)
        self.id = self._live["InstanceId"] if self._live else "-"

    def _found(self, *states: str) -> list[dict[str, Any]]:
        groups = self._aws.ours("instances", "Reservations", instance_state_name=[*states])
        every = (one for group in groups for one in group["Instances"])
        return sorted(every, key=lambda one: str(one["LaunchTime"]), reverse=True)

    def up(self, order: Order) -> list[Row]:
        """Make it, start it, or replace it if it is not what is wanted and may be replaced."""
        live = self._live
        kind = order.type or (live["InstanceType"] if live else TYPE)
        # EC2 says so if it has no such type or key.
        types = self._ec2.describe_instance_types(InstanceTypes=[kind])["InstanceTypes"]
        new_key = order.key and not (live and live.get("KeyName") == order.key)
        if new_key:
            self._ec2.describe_key_pairs(KeyNames=[order.key])
        if live:
            if (
                new_key and not order.replace
            ):  # or ssh would be open for nothing, or for another key
                raise AwsError(
                    f"{self.id} lacks the key {order.key}: --replace, or leave --ssh and --key out"
                )
            unlike = [f"it is a {live['InstanceType']}"] * (kind != live["InstanceType"])
            unlike += ["its ssh key is another"] * bool(new_key)
            unlike += ["it runs something older than this checkout"] * (
                _version(live) != order.version
            )
            if not (unlike and order.replace):
                why = f"; {' and '.join(unlike)}: --replace makes another" if unlike else ""
                stopped = live["State"]["Name"] == "stopped"
                what, call = ("change: start", self._start) if stopped else ("keep", None)
                return [Row("instance", self.id, what + why, call)]
        image = self._image(kind, types[0]["ProcessorInfo"]["SupportedArchitectures"], order.ami)
        rows = [
            Row(
                "archive",
                f"{PARCELS}{order.version or '*'}.tar",
                "make",
                lambda: self._bucket.take(order.pack()),
            ),
            Row("instance", "-", f"make: {kind}", lambda: self._make(kind, image, order)),
        ]
        terminate = partial(self._ec2.terminate_instances, InstanceIds=[self.id])
        return [Row("instance", self.id, "remove", terminate), *rows] if live else rows

    def _image(self, kind: str, supported: list[str], parameter: str | None) -> dict[str, Any]:
        """The newest machine image for this kind of instance."""
        parameter = parameter or UBUNTU.format("arm64" if "arm64" in supported else "amd64")
        try:
            id = self._aws.ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
        except self._aws.ssm.exceptions.ParameterNotFound:
            raise AwsError(
                f"{self._aws.region} has no SSM parameter {parameter}: name another with --ami"
            ) from None
        image: dict[str, Any] = self._ec2.describe_images(ImageIds=[id])["Images"][0]
        if image["Architecture"] not in supported:
            raise AwsError(
                f"{parameter} is for {image['Architecture']}, and {kind} is not: name another with --ami"
            )
        return image

    def _make(self, kind: str, image: dict[str, Any], order: Order) -> str:
        if others := {one["InstanceId"] for one in self._found(*LIVE)} - {
            one["InstanceId"] for one in self._all
        }:
            raise AwsError(f"another up has made {', '.join(others)} meanwhile: wait for its end")
        parcel = order.pack()
        # Of two at the same time EC2 heeds the first only, for they have one token; a later one has another.
        what = [
            self._aws.name,
            self._group.id,
            self.id,
            kind,
            parcel.version,
            str(int(time.time()) // 300),
        ]
        tags = self._aws.tagged("instance", "volume", "network-interface")
        tags[0]["Tags"] = [*self._aws.tags, {"Key": VERSION, "Value": parcel.version}]
        disk = {
            "VolumeSize": DISK,
            "VolumeType": "gp3",
            "Encrypted": True,
            "DeleteOnTermination": True,
        }
        words: dict[str, Any] = {
            **{"ImageId": image["ImageId"], "InstanceType": kind, "MinCount": 1, "MaxCount": 1},
            "UserData": parcel.start(self._bucket.url(parcel)),
            "SecurityGroupIds": [self._group.id],
            "IamInstanceProfile": {"Name": self._role.name},
            # Two hops, because the processor asks for its credentials from inside a container.
            "MetadataOptions": {
                "HttpEndpoint": "enabled",
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 2,
            },
            "BlockDeviceMappings": [{"DeviceName": image["RootDeviceName"], "Ebs": disk}],
            "TagSpecifications": tags,
            "ClientToken": hashlib.sha256(" ".join(what).encode()).hexdigest(),
            **({"KeyName": order.key} if order.key else {}),
        }
        # EC2 does not know a new profile at once.
        made = patiently(
            "InvalidParameterValue", self._ec2.run_instances, "iamInstanceProfile", **words
        )
        self.id = made["Instances"][0]["InstanceId"]
        self._ec2.get_waiter("instance_running").wait(InstanceIds=[self.id])
        return str(self.id)

    def _start(self) -> None:
        self._ec2.start_instances(InstanceIds=[self.id])
        self._ec2.get_waiter("instance_running").wait(InstanceIds=[self.id])

    def _remove(self, id: str) -> None:
        self._ec2.terminate_instances(InstanceIds=[id])
        self._ec2.get_waiter("instance_terminated").wait(InstanceIds=[id])

    def down(self) -> list[Row]:
        """Remove it and wait until it is gone, for address and security group cannot go before."""
        ids = [one["InstanceId"] for one in self._all]
        return [Row("instance", id, "remove", partial(self._remove, id)) for id in ids]

    def status(self, version: str | None) -> list[Row]:
        """Its state, and whether it runs what is in this checkout; `version` None: there is nothing to compare with."""
        rows = []
        for one in self._all:
            state, runs = (
                one["State"]["Name"],
                "this checkout" if _version(one) == version else "something older",
            )
            what = f"{state}, {one['InstanceType']}, runs {runs if version else 'what cannot be told without pki/'}"
            rows.append(
                Row(
                    "instance",
                    one["InstanceId"],
                    what,
                    well=state == "running" and one is self._live,
                )
            )
        return rows


class Address:
    """The Elastic IP: what edges have as CLOUD_ADDRESS, whatever becomes of the instance."""

    def __init__(self, aws: Aws, instance: Instance) -> None:
        self._aws, self._ec2, self._instance = aws, aws.ec2, instance
        self._all = aws.ours("addresses", "Addresses")
        self._id = self._all[0]["AllocationId"] if self._all else "-"
        self.ip = self._all[0]["PublicIp"] if self._all else "-"

    def up(self, renewed: bool) -> list[Row]:
        """Make it and give it to the instance, which may be `renewed` by then."""
        if not self._all:
            return [Row("address", "-", "make", self._make)]
        if renewed or self._all[0].get("InstanceId") != self._instance.id:
            return [Row("address", self.ip, "change: give it to the instance", self._give)]
        return [Row("address", self.ip, "keep")]

    def _make(self) -> str:
        made = self._ec2.allocate_address(
            Domain="vpc", TagSpecifications=self._aws.tagged("elastic-ip")
        )
        self._id, self.ip = made["AllocationId"], made["PublicIp"]
        self._give()
        return str(self.ip)

    def _give(self) -> None:
        words = {"AllocationId": self._id, "InstanceId": self._instance.id}
        self._ec2.associate_address(**words, AllowReassociation=True)

    def down(self) -> list[Row]:
        """Give it back, which EC2 allows some seconds after its instance is gone."""
        release = partial(patiently, "InvalidIPAddress.InUse", self._ec2.release_address)
        return [Row("address", one["PublicIp"], "remove", partial(release, AllocationId=one["AllocationId"]))
                for one in self._all]  # fmt: skip

    def status(self) -> list[Row]:
        """Whose it is, and whether a broker answers there."""
        rows = []
        for one in self._all:
            ip, owner = one["PublicIp"], one.get("InstanceId", "no instance")
            ours = owner == self._instance.id
            well = ours and answers(ip)
            now = f"{PORT} {'answers' if well else SILENT}" if ours else "up gives it to ours"
            rows.append(Row("address", ip, f"of {owner}; {now}", well=well))
        return rows


def found(call: Callable[..., Any], **words: Any) -> Any:
    """What a call answers, or None if there is no such thing."""
    try:
        return call(**words)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def within(wanted: Any, there: Any) -> bool:
    """Whether all that is wanted is there; AWS may add defaults of its own to what it was told."""
    if isinstance(wanted, str) and isinstance(there, str) and wanted.startswith("{"):
        wanted, there = json.loads(wanted), json.loads(there)
    if isinstance(wanted, dict) and isinstance(there, dict):
        if (
            "Filter" in wanted
        ):  # of a lifecycle rule, which may also come back with {}, or with its prefix outside
            there = {**there, "Filter": there.get("Filter") or {"Prefix": there.get("Prefix", "")}}
        return all(key in there and within(value, there[key]) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(
            any(within(one, other) for other in there) for one in wanted
        )
    return bool(wanted == there)


def patiently(code: str, call: Callable[..., Any], about: str = "", **words: Any) -> Any:
    """Make a call again, for up to a minute, while AWS says no with this code because it is not up to date yet."""

    def passing(error: BaseException) -> bool:
        return (
            isinstance(error, ClientError)
            and error.response["Error"]["Code"] == code
            and about in str(error)
        )

    retry, stop = retry_if_exception(passing), stop_after_delay(60)
    return Retrying(retry=retry, wait=wait_fixed(3), stop=stop, reraise=True)(call, **words)


def answers(ip: str) -> bool:
    """Whether something listens where edges look for the broker."""
    with suppress(OSError), socket.create_connection((ip, PORT), 2):
        return True
    return False


def _inlets(rules: Iterable[Rule | None]) -> str:
    return ", ".join(
        sorted(f"{rule[0]} from {rule[1]}" if rule else "a rule of no such kind" for rule in rules)
    )


def _version(instance: dict[str, Any]) -> str | None:
    return next((tag["Value"] for tag in instance["Tags"] if tag["Key"] == VERSION), None)
