"""The processor's settings, each an environment variable of the same name in capitals.

AWS_* are boto3's own.
"""

from pydantic import Field

import bus.settings


class Settings(bus.settings.Settings):
    """Without S3_ENDPOINT_URL the store is AWS S3; credentials come by boto3's own chain."""

    bucket: str = Field(
        min_length=3,
        max_length=63,
        description="The bucket that faces and quarantine go to.",
    )
    create_bucket: bool = Field(default=False, description="Whether a missing bucket is made.")
    s3_endpoint_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="URL of a store that is not AWS S3.",
    )
    s3_region: str = Field("us-east-1", description="The bucket's region.")
    upload_threads: int = Field(8, ge=1, le=64, description="Captures put at the same time.")
