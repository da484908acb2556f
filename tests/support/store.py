"""A store seen by a test; nothing of ours is imported here."""

from typing import Any

import boto3
from botocore.client import Config


def client(url: str, access_key: str, secret_key: str) -> Any:
    """An S3 client for a store on this machine."""
    session = boto3.session.Session(access_key, secret_key, region_name="us-east-1")
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 5})
    return session.client("s3", endpoint_url=url, config=config)


def keys(s3: Any, bucket: str, *, below: str = "") -> list[str]:
    """The keys in a bucket that begin with `below`."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=below)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]
