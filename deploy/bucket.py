"""The bucket, which outlives the stack that made it."""

from collections import Counter

from botocore.exceptions import ClientError

from deploy.archive import Archive
from deploy.aws import TAG, Aws, found
from deploy.errors import AwsError
from deploy.stack import Stack

ARCHIVES = "deploy/"
URL_S = 3600


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
