"""The processor's settings, each an environment variable of the same name in capitals; AWS_* are boto3's own."""

from pydantic import Field

import bus.settings


class Settings(bus.settings.Settings):
    """Without S3_ENDPOINT_URL the store is AWS S3; credentials come by boto3's own chain."""

    client_id: str = Field("processor", pattern=r"^[A-Za-z0-9-]{1,64}$")
    bucket: str = Field(min_length=3, max_length=63)
    create_bucket: bool = False
    s3_endpoint_url: str | None = Field(None, pattern=r"^https?://")
    s3_region: str = "us-east-1"
    upload_threads: int = Field(8, ge=1, le=64)
    group: str = Field(
        "", pattern=r"^[A-Za-z0-9-]{0,64}$"
    )  # the processors that share the captures
