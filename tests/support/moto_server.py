"""moto's server on a free port, with what its CloudFormation lacks; ends when its input does.

Added here as AWS does it: an instance comes from its launch template and is replaced by a new
version of it, an address is associated and goes with its stack, a resource whose condition becomes
true is made, and texts refer to parameters.
"""

import re
import sys
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.parsing import ResourceMap
from moto.core.common_models import CloudFormationModel
from moto.ec2.models import ec2_backends
from moto.ec2.models.elastic_ip_addresses import ElasticAddress
from moto.ec2.models.instances import Instance
from moto.server import ThreadedMotoServer

# Of its launch template, by the instance's id.
VERSIONS: dict[str, str] = {}


def made(
    _cls: type[Instance], /, name: str, json: dict[str, Any], account_id: str, region: str, **_: Any
) -> Instance:
    """An instance as its launch template says."""
    backend = ec2_backends[account_id][region]
    properties = json["Properties"]
    chosen = properties["LaunchTemplate"]
    template = backend.get_launch_template(chosen["LaunchTemplateId"])
    data = template.get_version(chosen["Version"]).data
    reservation = backend.run_instances(
        data["ImageId"],
        count=1,
        user_data=data["UserData"],
        security_group_names=[],
        is_instance_type_default=False,
        security_group_ids=data["SecurityGroupIds"],
        instance_type=data["InstanceType"],
        key_name=data.get("KeyName"),
        block_device_mappings=data["BlockDeviceMappings"],
        tags={"instance": {tag["Key"]: tag["Value"] for tag in properties["Tags"]}},
    )
    instance: Instance = reservation.instances[0]
    VERSIONS[instance.id] = chosen["Version"]
    return instance


def replaced(
    _cls: type[Instance],
    /,
    original_resource: Instance,
    new_resource_name: str,
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
) -> Instance:
    """Another instance for a new version of its launch template; the address follows."""
    wanted = cloudformation_json["Properties"]["LaunchTemplate"]["Version"]
    if VERSIONS[original_resource.id] == wanted:
        return original_resource
    backend = ec2_backends[account_id][region_name]
    new = made(_cls, new_resource_name, cloudformation_json, account_id, region_name)
    for address in backend.describe_addresses():
        if address.instance is original_resource:
            backend.associate_address(new, allocation_id=address.allocation_id, reassociate=True)
    backend.terminate_instances([original_resource.id])
    return new


class Association(CloudFormationModel):
    """Which instance has an address."""

    physical_resource_id = "eipassoc-1"

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::EC2::EIPAssociation"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> "Association":
        backend = ec2_backends[account_id][region_name]
        properties = cloudformation_json["Properties"]
        instance = backend.get_instance(properties["InstanceId"])
        backend.associate_address(
            instance, allocation_id=properties["AllocationId"], reassociate=True
        )
        return cls()

    def delete(self, account_id: str, region: str) -> None:
        """The address itself goes with its own deletion."""


def released(self: ElasticAddress, account_id: str, region: str) -> None:
    ec2_backends[account_id][region].release_address(allocation_id=self.allocation_id)


clean = parsing.clean_json
references = parsing.get_references_from_template
update = ResourceMap.update


def cleaned(json: Any, resources: ResourceMap) -> Any:
    """Without what is AWS::NoValue in a list."""
    value = clean(json, resources)
    if isinstance(value, list):
        return [one for one in value if one is not None]
    return value


def referred(json: Any) -> list[str]:
    """What a part of the template refers to, also within a text."""
    return [*references(json), *re.findall(r"\$\{(\w+)\}", str(json))]


def updated(
    self: ResourceMap, template: dict[str, Any], parameters: dict[str, Any] | None = None
) -> None:
    """What there is to change, to make since a condition is true, and to replace."""
    update(self, template, parameters)
    for name in self.resources:
        resource = self[name]
        if isinstance(resource, Instance):
            json = template["Resources"][name]
            place = {"account_id": self._account_id, "region_name": self._region_name}
            changed = parsing.parse_and_update_resource(name, json, self, **place)
            self._parsed_resources[name] = changed


PATCHES: tuple[tuple[Any, str, Any], ...] = (
    (Instance, "create_from_cloudformation_json", classmethod(made)),
    (Instance, "update_from_cloudformation_json", classmethod(replaced)),
    (ElasticAddress, "delete", released),
    (ResourceMap, "update", updated),
    (parsing, "clean_json", cleaned),
    (parsing, "get_references_from_template", referred),
)


def main() -> None:
    """Say the port, and serve until the input ends."""
    for owner, name, patch in PATCHES:
        setattr(owner, name, patch)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()
