"""S3 as COPY and UNLOAD use it."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from botocore.exceptions import ClientError

from tests.redshift.errors import Refused
from tests.redshift.parquet import LoadError, ParquetFile
from tests.redshift.transfers import Transfer
from tests.services.aws import Endpoint


class Storage:
    """The objects of one S3 server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def files(self, copy: Transfer) -> Iterator[ParquetFile]:
        """What COPY reads: every object of a manifest, or under a prefix. Raises LoadError and Refused."""
        with self._client(copy.url) as client:
            listed = (
                self._of_manifest(client, copy.url) if "manifest" in copy.options else self._of_prefix(client, copy.url)
            )
            found = 0
            for url, mandatory in listed:
                body = _get(client, url)
                if body is not None:
                    found += 1
                    yield ParquetFile(url, body)
                elif mandatory:
                    raise LoadError("The specified key does not exist, Status 404, Error NoSuchKey.", url)
            if not found:
                raise LoadError("The specified S3 prefix does not exist.", copy.url)

    def put(self, unload: Transfer, body: bytes) -> None:
        """Write what UNLOAD brings, as one file. Raises Refused where files are there already."""
        bucket, prefix = _split(unload.url)
        with self._client(unload.url) as client:
            found = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("KeyCount")
            if found and "allowoverwrite" not in unload.options:
                raise Refused(f"Specified unload destination on S3 is not empty: {unload.url}", "XX000")
            client.put_object(Bucket=bucket, Key=f"{prefix}0000_part_00.parquet", Body=body)

    @contextmanager
    def _client(self, url: str) -> Iterator[Any]:
        with closing(self._endpoint.client()) as client:
            try:
                yield client
            except ClientError as error:
                code, message = error.response["Error"]["Code"], error.response["Error"].get("Message")
                raise Refused(f"S3ServiceException: {message}, Error {code}: {url}", "XX000") from error

    def _of_manifest(self, client: Any, url: str) -> Iterator[tuple[str, bool]]:
        """Files that are not there are passed over unless they are mandatory:
        docs.aws.amazon.com/redshift/latest/dg/loading-data-files-using-manifest.html"""
        body = _get(client, url)
        if body is None:
            raise LoadError("The specified manifest file does not exist.", url)
        for entry in json.loads(body)["entries"]:
            if "content_length" not in entry.get("meta", {}):
                raise LoadError("A manifest for Parquet needs meta.content_length in each entry.", entry["url"])
            yield entry["url"], bool(entry.get("mandatory"))

    def _of_prefix(self, client: Any, url: str) -> Iterator[tuple[str, bool]]:
        bucket, prefix = _split(url)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                yield f"s3://{bucket}/{entry['Key']}", True


def _get(client: Any, url: str) -> bytes | None:
    """An object; None for one that is not there."""
    bucket, key = _split(url)
    try:
        return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    except client.exceptions.NoSuchKey:
        return None


def _split(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key
