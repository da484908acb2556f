"""One region of an AWS account: its clients, and the machines and addresses in it."""

import os
from collections.abc import Callable
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError

from deploy.errors import AwsError

TAG = "facebridge"
UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{}/hvm/ebs-gp3/ami-id"
LIVE = ("pending", "running", "stopping", "stopped")


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
        """The ids of those with our tag that no stack made."""
        return [one["InstanceId"] for one in self._instances(self._mine) if _alone(one)]

    def tagged_addresses(self) -> dict[str, str]:
        """The allocation ids of the addresses with our tag that no stack made."""
        addresses = self.ec2.describe_addresses(Filters=[self._mine])["Addresses"]
        return {one["PublicIp"]: one["AllocationId"] for one in addresses if _alone(one)}

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


def found(call: Callable[..., Any], **words: Any) -> Any:
    """What a call answers, or None if there is no such thing."""
    try:
        return call(**words)
    except ClientError as error:
        absent = error.response["Error"]["Code"] == "ParameterNotFound"
        if absent or error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def _alone(thing: dict[str, Any]) -> bool:
    """Whether no stack made it: CloudFormation notes its own on what it makes."""
    keys = [tag["Key"] for tag in thing.get("Tags", ())]
    return "aws:cloudformation:stack-id" not in keys
