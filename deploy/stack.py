"""The CloudFormation stack of aws.yaml: made, changed and removed, from whatever state it is in."""

import time
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, WaiterError
from botocore.parsers import ResponseParserError

from deploy.aws import Aws
from deploy.errors import AwsError

TEMPLATE = Path(__file__).with_name("aws.yaml")
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
