"""The cloud half at AWS: a stack of aws.yaml, and what of ours may lie outside of it."""

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError, WaiterError
from botocore.parsers import ResponseParserError

from deploy.archive import Archive

TEMPLATE = Path(__file__).with_name("aws.yaml")
TAG = "facebridge"
UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{}/hvm/ebs-gp3/ami-id"
ARCHIVES = "deploy/"
LIVE = ("pending", "running", "stopping", "stopped")
# A stack in one of these can only be deleted; nothing of it is of use.
REMNANT = (
    "REVIEW_IN_PROGRESS",
    "CREATE_FAILED",
    "ROLLBACK_COMPLETE",
    "ROLLBACK_FAILED",
    "DELETE_FAILED",
)
STUCK = "UPDATE_ROLLBACK_FAILED"
POLL_S = 5
LONGEST_S = 3600
URL_S = 3600


class AwsError(Exception):
    """It cannot be done; the text says why and what to do."""


class Aws:
    """One region of an account, and the tag by which this tool knows its own."""

    def __init__(self, name: str, region: str | None) -> None:
        # S3 redirects a URL that does not name the region, which would spoil its signature.
        style = "path" if os.environ.get("AWS_ENDPOINT_URL") else "virtual"
        config = Config(connect_timeout=5, retries={"mode": "standard"})
        signed = config.merge(Config(signature_version="s3v4", s3={"addressing_style": style}))
        session: Any = boto3.session.Session(region_name=region)
        try:
            self.stacks = session.client("cloudformation", config=config)
            self.ec2 = session.client("ec2", config=config)
            self.ssm = session.client("ssm", config=config)
            self.tagged = session.client("resourcegroupstaggingapi", config=config)
            self.s3 = session.resource("s3", config=signed)
        except ValueError as error:
            raise AwsError(
                f"{error}: check AWS_ENDPOINT_URL (https://...) and --region, or leave them out"
            ) from error
        self.name = name
        self.region = str(session.region_name)
        self.tag = {"Key": TAG, "Value": name}
        self._mine = {"Name": f"tag:{TAG}", "Values": [name]}

    def foreign(self, thing: str, name: str) -> AwsError:
        """The refusal to touch a thing that has our name without our tag."""
        without = f"without the tag {TAG}={self.name}"
        return AwsError(f"{thing} {name} is there {without}, so it is left alone: use another name")

    def _instances(self, filter: dict[str, Any]) -> list[dict[str, Any]]:
        live = {"Name": "instance-state-name", "Values": [*LIVE]}
        pages = self.ec2.get_paginator("describe_instances").paginate(Filters=[live, filter])
        return [one for page in pages for few in page["Reservations"] for one in few["Instances"]]

    def instance(self, id: str) -> dict[str, Any] | None:
        """The instance of this id, unless it is gone or going."""
        return next(iter(self._instances({"Name": "instance-id", "Values": [id]})), None)

    def tagged_instances(self) -> list[str]:
        """The ids of those with our tag."""
        return [one["InstanceId"] for one in self._instances(self._mine)]

    def tagged_addresses(self) -> dict[str, str]:
        """The allocation ids of the addresses with our tag."""
        addresses = self.ec2.describe_addresses(Filters=[self._mine])["Addresses"]
        return {one["PublicIp"]: one["AllocationId"] for one in addresses}

    def owner(self, ip: str) -> str:
        """The instance that has this address; empty if none has it."""
        address = self.ec2.describe_addresses(PublicIps=[ip])["Addresses"][0]
        return str(address.get("InstanceId", ""))

    def release(self, allocation_id: str) -> None:
        """Give an address back."""
        self.ec2.release_address(AllocationId=allocation_id)

    def terminate(self, id: str) -> None:
        """Remove an instance and wait until it is gone."""
        self.ec2.terminate_instances(InstanceIds=[id])
        self.ec2.get_waiter("instance_terminated").wait(InstanceIds=[id])

    def start(self, id: str) -> None:
        """Start an instance that was stopped."""
        self.ec2.start_instances(InstanceIds=[id])
        self.ec2.get_waiter("instance_running").wait(InstanceIds=[id])

    def image(self, kind: str, parameter: str | None) -> dict[str, str]:
        """The newest machine image for an instance of this type, as parameters of the template."""
        types = self.ec2.describe_instance_types(InstanceTypes=[kind])["InstanceTypes"]
        supported = types[0]["ProcessorInfo"]["SupportedArchitectures"]
        architecture = "arm64" if "arm64" in supported else "amd64"
        parameter = parameter or UBUNTU.format(architecture)
        id = found(self.ssm.get_parameter, Name=parameter)
        if id is None:
            raise AwsError(
                f"{self.region} has no SSM parameter {parameter}: name another with --ami"
            )
        image = self.ec2.describe_images(ImageIds=[id["Parameter"]["Value"]])["Images"][0]
        if image["Architecture"] not in supported:
            raise AwsError(
                f"{parameter} is for {image['Architecture']}, and {kind} is not: "
                "name another with --ami"
            )
        return {"Type": kind, "Image": image["ImageId"], "RootDevice": image["RootDeviceName"]}


class Stack:
    """The stack: `state` is empty if there is none; `resources` are ids by names in aws.yaml."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._api = aws.stacks
        self.name = aws.name
        self.read()

    def read(self) -> None:
        """See how it is now."""
        self.state = ""
        self.parameters: dict[str, str] = {}
        self.resources: dict[str, str] = {}
        try:
            stack = self._api.describe_stacks(StackName=self.name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return
            raise
        except KeyError as error:  # a page of XML that is not AWS's
            raise ResponseParserError("no stacks") from error
        if self._aws.tag not in stack["Tags"]:
            raise self._aws.foreign("stack", self.name)
        self.state = str(stack["StackStatus"])
        if self.usable:
            pairs = stack["Parameters"]
            self.parameters = {one["ParameterKey"]: one["ParameterValue"] for one in pairs}
            self._read_resources()

    def _read_resources(self) -> None:
        for page in self._api.get_paginator("list_stack_resources").paginate(StackName=self.name):
            for one in page["StackResourceSummaries"]:
                if one.get("PhysicalResourceId") and one["ResourceStatus"] != "DELETE_COMPLETE":
                    self.resources[one["LogicalResourceId"]] = one["PhysicalResourceId"]

    @property
    def usable(self) -> bool:
        """Whether it is there and can be changed."""
        return bool(self.state) and self.state not in REMNANT

    def settle(self) -> None:
        """Wait until nobody changes it any more, be it an interrupted run of ours."""
        while self.state.endswith("_IN_PROGRESS") and self.state != "REVIEW_IN_PROGRESS":
            time.sleep(POLL_S)
            self.read()

    def change(self, parameters: dict[str, str], *, renewed: bool) -> None:
        """Make it, or change these parameters; `renewed`: by this checkout's template too."""
        given: list[dict[str, Any]] = [
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ]
        kept = self.parameters.keys() - parameters.keys()
        given += [{"ParameterKey": key, "UsePreviousValue": True} for key in kept]
        template: dict[str, Any] = {"UsePreviousTemplate": True}
        if renewed:
            template = {"TemplateBody": TEMPLATE.read_text()}
        kind = "UPDATE" if self.state else "CREATE"
        change = self._api.create_change_set(
            StackName=self.name,
            ChangeSetName=f"facebridge-{time.time_ns()}",
            ChangeSetType=kind,
            Parameters=given,
            Capabilities=["CAPABILITY_IAM"],
            Tags=[self._aws.tag],
            **template,
        )
        self._wait("change_set_create_complete", ChangeSetName=change["Id"])
        # Or a bucket that was just made would outlive the failure that rolls back the rest.
        self._api.execute_change_set(ChangeSetName=change["Id"], RetainExceptOnCreate=True)
        self._wait(f"stack_{kind.lower()}_complete")
        self.read()

    def mend(self) -> None:
        """Bring the rollback of a failed change to its end, so that it can be changed again."""
        self._api.continue_update_rollback(StackName=self.name)
        self._wait("stack_rollback_complete")
        self.read()

    def delete(self) -> None:
        """Remove it with all that is in it, but for what the template retains."""
        self._api.delete_stack(StackName=self.name)
        self._wait("stack_delete_complete")
        self.read()

    def _wait(self, what: str, **words: str) -> None:
        pace = {"Delay": POLL_S, "MaxAttempts": LONGEST_S // POLL_S}
        try:
            self._api.get_waiter(what).wait(StackName=self.name, WaiterConfig=pace, **words)
        except WaiterError as error:
            if words:
                reason = error.last_response.get("StatusReason", error)
            else:
                reason = self._reason() or error
            raise AwsError(f"stack {self.name}: {reason}") from error

    def _reason(self) -> str:
        """What failed first, of what was done last."""
        reason = ""
        for event in self._api.describe_stack_events(StackName=self.name)["StackEvents"]:
            why = event.get("ResourceStatusReason", "")
            if why == "User Initiated":
                break
            if event["ResourceStatus"].endswith("_FAILED"):
                reason = f"{event['LogicalResourceId']}: {why}"
        return reason


class Bucket:
    """The bucket: the stack's, or, when that is gone or never was, the one with our tag."""

    def __init__(self, aws: Aws, stack: Stack, wanted: str | None = None) -> None:
        self._aws = aws
        self._api = aws.s3.meta.client
        mine = [stack.parameters["BucketName"]] if stack.usable else self._with_our_tag()
        if len(mine) > 1:
            raise AwsError(
                f"{' and '.join(mine)} both have the tag {TAG}={aws.name}: take it off one of them"
            )
        if mine and wanted not in (None, *mine):
            raise AwsError(
                f"{aws.name} has the bucket {mine[0]}: leave --bucket out, or use another --name"
            )
        self.name = wanted or "".join(mine)
        self.there = bool(self.name) and self._is_there()
        if self.there and not mine and not self._is_ours():
            raise aws.foreign("bucket", self.name)

    def _with_our_tag(self) -> list[str]:
        pages = self._aws.tagged.get_paginator("get_resources").paginate(
            TagFilters=[{"Key": TAG, "Values": [self._aws.name]}], ResourceTypeFilters=["s3"]
        )
        arns = [one["ResourceARN"] for page in pages for one in page["ResourceTagMappingList"]]
        return [arn.rpartition(":")[2] for arn in arns]

    def _is_there(self) -> bool:
        try:
            return found(self._api.head_bucket, Bucket=self.name) is not None
        except ClientError as error:
            raise AwsError(
                f"bucket {self.name}: somebody else's, or closed to you: use another name"
            ) from error

    def _is_ours(self) -> bool:
        tags = found(self._api.get_bucket_tagging, Bucket=self.name) or {"TagSet": []}
        return self._aws.tag in tags["TagSet"]

    def put(self, archive: Archive) -> None:
        """Hold what an instance is to be given."""
        self._api.put_object(Bucket=self.name, Key=archive.key, Body=archive.content)

    def url(self, archive: Archive) -> str:
        """Where the instance gets it within the hour; so its role needs no right to read it."""
        place = {"Bucket": self.name, "Key": archive.key}
        return str(self._api.generate_presigned_url("get_object", Params=place, ExpiresIn=URL_S))

    def held(self) -> tuple[str, bool]:
        """How many versions of what it holds, in words, and whether `up` did not put them there."""
        page = self._api.list_object_versions(Bucket=self.name)  # the first thousand tell enough
        keys = [one["Key"] for one in page.get("Versions", ())]
        counts = Counter(key.partition("/")[0] for key in keys if not key.startswith(ARCHIVES))
        least = "at least " if page["IsTruncated"] else ""
        words = [f"{least}{count} in {folder}/" for folder, count in counts.items()]
        return ", ".join(words) or f"{least}no face", bool(words or least)

    def has_archives(self) -> bool:
        """Whether it holds what an instance was given."""
        page = self._api.list_object_versions(Bucket=self.name, Prefix=ARCHIVES, MaxKeys=1)
        return "Versions" in page

    def clear(self, prefix: str) -> None:
        """Remove what is below the prefix, in all its versions."""
        for answer in self._aws.s3.Bucket(self.name).object_versions.filter(Prefix=prefix).delete():
            for error in answer.get("Errors", ()):
                raise AwsError(
                    f"bucket {self.name}: {error['Key']} does not go: {error.get('Message', '')}"
                )

    def remove(self, prefix: str) -> None:
        """Remove it with what is below the prefix; S3 refuses that if it holds something else."""
        self.clear(prefix)
        for one in self._aws.s3.Bucket(self.name).object_versions.all():
            if one.size is None:  # it marks what was deleted, and holds nothing
                one.delete()
        self._api.delete_bucket(Bucket=self.name)
        self._api.get_waiter("bucket_not_exists").wait(Bucket=self.name)


def found(call: Callable[..., Any], **words: Any) -> Any:
    """What a call answers, or None if there is no such thing."""
    try:
        return call(**words)
    except ClientError as error:
        absent = error.response["Error"]["Code"] == "ParameterNotFound"
        if absent or error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise
