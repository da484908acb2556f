"""What goes wrong at AWS, in one line that says what to do."""

import re

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

NOT_AWS = "it may not be AWS that answers: check AWS_ENDPOINT_URL and HTTPS_PROXY"
KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
# What is to be done about an error code of AWS, by a pattern that finds it.
ADVICE = {
    "AccessDenied|Unauthorized|Forbidden": (
        "ask for the right to {call}, or set another AWS_PROFILE"
    ),
    "Token|Signature|AuthFailure|AccessKeyId|Credential": (
        f"log in again, or check AWS_PROFILE or {KEYS}"
    ),
    "LimitExceeded": "free some, or ask for more in Service Quotas",
    r"^\d*$": NOT_AWS,
}


class AwsError(Exception):
    """It cannot be done; the text says why and what to do."""


def said(error: Exception) -> str:
    """An error in one line, with what to do next."""
    text = " ".join(str(error).split())
    match error:
        case exceptions.NoRegionError():
            return "which region? --region eu-central-1, or AWS_DEFAULT_REGION, or aws configure"
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            return f"AWS: {text}: aws configure, or set AWS_PROFILE, or {KEYS}"
        case exceptions.ConnectionError() | exceptions.HTTPClientError():
            return f"AWS: {text}: check the network, --region and AWS_ENDPOINT_URL"
        case ClientError():
            return _refused(error)
        case ResponseParserError():
            return f"AWS: {text[:60]}...: {NOT_AWS}"
        case BotoCoreError():
            return f"AWS: {text}: check the settings in ~/.aws and AWS_*"
    return text


def _refused(error: ClientError) -> str:
    """A refusal of AWS in one line, with what to do next."""
    call = error.operation_name
    answer = error.response.get("Error", {})  # which a page that is not AWS's lacks
    code = answer.get("Code", "")
    message = answer.get("Message", "").partition("Encoded authorization failure")[0]
    what = f"AWS says no to {call}: {' '.join(message.split())} ({code})"
    for pattern, advice in ADVICE.items():
        if re.search(pattern, code):
            return f"{what}: {advice.format(call=call)}"
    return what
